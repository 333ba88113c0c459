#pragma once

#include <string>
#include <vector>

#include "pipeline/scheduler.h"

/// Why things happen: the plan of --dry-run and the reasons of --explain, as lines of text
/// fit for a terminal, without newlines.
namespace reelfolio::pipeline {

/// What a run would do with an input, from opening it and looking at its content:
///   inbox/a.mp4: video, goes to scenes
///   inbox/notes.txt: text, skipped: no stage takes text files
///   inbox/gone.pdf: failed: input.unreadable: no such file or directory
///   inbox/b.mp4: video, done before
///   inbox/c.pdf: pdf, goes to pages (caption has changed; it came apart before)
/// `options` gives the probe and the history, as for run_graph.
std::string plan_input(const Graph& graph, const ListedInput& input, const RunOptions& options = {});

/// Why an input came out as it did. First a line for the input, then one for each unit, with
/// the stages that answered and the errors of those that did not:
///   inbox/a.mp4: partial: 1 of 2 units without error
///     scene 0: caption, answers
///     scene 1: caption; answers failed: request.refused: prompt has 9000 tokens, expected at most 8192
///     input: scenes failed: video.truncated: the last frame is at 3.2 s
std::vector<std::string> explain_result(const Graph& graph, const stages::InputResult& result);

}  // namespace reelfolio::pipeline
