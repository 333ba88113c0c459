#pragma once

namespace reelfolio::cli {

/// What the program's exit status says (README.md lists them; scripts rely on them).
enum class ExitCode {
  ok = 0,
  internal = 1,
  usage = 2,          ///< a bad flag or graph; no input was opened
  inputs_failed = 3,  ///< finished, but some inputs have error records
  model = 4,
  output = 5,
  locked = 11,
  hung_up = 129,      ///< SIGHUP
  interrupted = 130,  ///< SIGINT
  terminated = 143,   ///< SIGTERM
};

}  // namespace reelfolio::cli
