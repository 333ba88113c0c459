#include "cli/output_lock.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

#include "stages/write_jsonl.h"
#include "tests/support/catch.h"
#include "tests/support/temp_folder.h"

using reelfolio::cli::LockedError;
using reelfolio::cli::OutputLock;
using reelfolio::test::TempFolder;

TEST_CASE("output lock: a second run is refused and told who holds the lock") {
  const TempFolder folder;
  const auto output = folder / "out.jsonl";
  CHECK_FALSE(reelfolio::cli::is_output_locked(output));
  const OutputLock lock(output);
  CHECK(reelfolio::cli::is_output_locked(output));
  std::string message;
  try {
    const OutputLock second(output);
  } catch (const LockedError& error) {
    message = error.what();
  }
  CHECK(message ==
        output.string() + " is being written by another run (process " + std::to_string(getpid()) + ")");
}

TEST_CASE("output lock: leaves no file behind and can be taken again") {
  const TempFolder folder;
  const auto output = folder / "out.jsonl";
  { const OutputLock lock(output); }
  CHECK(std::filesystem::is_empty(folder.path()));
  const OutputLock again(output);
}

TEST_CASE("output lock: a lock file that a killed run left does not lock") {
  const TempFolder folder;
  const auto output = folder / "out.jsonl";
  const pid_t child = fork();
  if (child == 0) {
    const OutputLock lock(output);
    raise(SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(std::filesystem::exists(folder / "out.jsonl.lock"));
  CHECK_FALSE(reelfolio::cli::is_output_locked(output));
  const OutputLock lock(output);
}

TEST_CASE("output lock: two names of one file are one output") {
  const TempFolder folder;
  std::ofstream(folder / "real.jsonl");
  std::filesystem::create_symlink("real.jsonl", folder / "link.jsonl");
  const OutputLock lock(folder / "real.jsonl");
  CHECK_THROWS_AS(OutputLock(folder / "link.jsonl"), LockedError);
}

TEST_CASE("output lock: stdout and devices are not locked") {
  const OutputLock a("-");
  const OutputLock b("-");
  const OutputLock c("/dev/null");
  const OutputLock d("/dev/null");
  CHECK_FALSE(std::filesystem::exists("/dev/null.lock"));
}

TEST_CASE("output lock: a folder that is missing is an output error") {
  CHECK_THROWS_AS(OutputLock("/nonexistent-folder/out.jsonl"), reelfolio::stages::OutputError);
}
