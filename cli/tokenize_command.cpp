#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/console.h"
#include "engine/tokenizer.h"
#include "pipeline/error.h"
#include "pipeline/names.h"

namespace reelfolio::cli {

namespace {

/// Special tokens spelled in the text are recognised, as they are in a prompt's own text;
/// `<bos>` is not added.
std::vector<engine::TokenId> encode(const engine::Tokenizer& tokenizer, const std::string& text) {
  const engine::PromptRun run{text, /*trusted=*/true};
  return tokenizer.encode({&run, 1});
}

void tokenize_lines(const engine::Tokenizer& tokenizer) {
  std::size_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    ++number;
    const nlohmann::json text = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!text.is_string()) {
      throw pipeline::ConfigError("stdin:" + std::to_string(number) + ": " + pipeline::in_quotes(line) +
                                  " is no JSON string");
    }
    print(nlohmann::json(encode(tokenizer, text.get_ref<const std::string&>())).dump() + "\n");
  }
}

}  // namespace

ExitCode tokenize_command(const TokenizeFlags& flags) {
  const engine::Tokenizer tokenizer = engine::Tokenizer::load(flags.model);
  if (flags.texts == std::vector<std::string>{"-"}) {
    tokenize_lines(tokenizer);
    return ExitCode::ok;
  }
  bool first = true;
  for (const std::string& text : flags.texts) {
    std::string lines = first ? "" : "\n";
    first = false;
    for (const engine::TokenId id : encode(tokenizer, text)) {
      lines += std::to_string(id) + "\t" + pipeline::printable(tokenizer.piece(id)) + "\n";
    }
    print(lines);
  }
  return ExitCode::ok;
}

}  // namespace reelfolio::cli
