#pragma once

#include <memory>
#include <ostream>

#include "pipeline/clock.h"
#include "pipeline/progress.h"

/// Progress for people and for programs. All write to one stream (stderr) and flush after
/// each line. Errors of inputs appear as they happen; the summary comes last.
namespace reelfolio::pipeline {

enum class ProgressMode { automatic, plain, json, none };

/// What the stream leads to.
struct TerminalInfo {
  bool animated = false;  ///< a terminal that can move its cursor
  bool colour = false;
  int columns = 80;
  int descriptor = -1;  ///< asked for its width before each drawing; -1: `columns` holds
};

/// Looks at a file descriptor and at TERM and NO_COLOR: no animation and no colour where it is
/// no terminal, TERM is "dumb" (or not set), or NO_COLOR is set and not empty.
TerminalInfo terminal_info(int fd);

/// automatic  one line that is written over, on an animated terminal; else as plain
/// plain      a line when an input is done, ten seconds apart at least, and one a minute while
///            none is
/// json       {"type":"progress"} at most once a second, {"type":"error"}, {"type":"summary"}
/// none       errors and summary alone
/// `quiet`    errors alone, whatever the mode
/// `out` and `clock` are borrowed.
std::unique_ptr<Progress> make_progress(ProgressMode mode, bool quiet, std::ostream& out,
                                        const TerminalInfo& terminal, const Clock& clock = steady_clock());

}  // namespace reelfolio::pipeline
