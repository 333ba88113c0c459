#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "stages/output_file.h"
#include "stages/stage.h"

namespace reelfolio::stages {

/// The lines of one input, each ended by '\n' (design.md, "Output"). The same bytes for
/// the same result, whatever the locale. Units of the kinds in `name_stage_of` say which
/// stage cut them: in a graph with two such stages the lines would look alike without it.
std::string jsonl_lines(const InputResult& result, const std::vector<UnitKind>& name_stage_of = {});

/// Writes JSONL as OutputFile does. stdout and pipes receive each input as it is done. Throws OutputError.
std::unique_ptr<Sink> make_jsonl_sink(const std::filesystem::path& path,
                                      const std::vector<UnitKind>& name_stage_of = {});

}  // namespace reelfolio::stages
