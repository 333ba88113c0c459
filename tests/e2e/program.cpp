#include "tests/e2e/program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace reelfolio::testing {

Outcome run_program(const Invocation& invocation) {
  const TempFolder folder;
  const std::filesystem::path in = folder.write("stdin", invocation.input);
  const std::filesystem::path out =
      invocation.stdout_path.empty() ? folder.write("stdout", "") : invocation.stdout_path;
  const std::filesystem::path err = folder.write("stderr", "");

  std::vector<std::string> arguments = {REELFOLIO_BINARY_DIR "/reelfolio"};
  arguments.insert(arguments.end(), invocation.arguments.begin(), invocation.arguments.end());
  std::vector<std::string> variables = {"PATH=/usr/bin:/bin", "HOME=/nonexistent", "LANG=C.UTF-8"};
  for (const auto& [name, value] : invocation.variables) variables.push_back(name + "=" + value);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (std::string& variable : variables) envp.push_back(variable.data());
  envp.push_back(nullptr);
  const std::filesystem::path working =
      invocation.folder.empty() ? std::filesystem::path(REELFOLIO_SOURCE_DIR) : invocation.folder;

  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    const auto open_as = [](const std::filesystem::path& path, int flags, int descriptor) {
      const int opened = open(path.c_str(), flags);
      if (opened < 0 || dup2(opened, descriptor) < 0) _exit(127);
      close(opened);
    };
    open_as(in, O_RDONLY, STDIN_FILENO);
    open_as(out, O_WRONLY, STDOUT_FILENO);
    open_as(err, O_WRONLY, STDERR_FILENO);
    if (chdir(working.c_str()) != 0) _exit(127);
    execve(argv[0], argv.data(), envp.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  Outcome outcome;
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (invocation.stdout_path.empty()) outcome.out = read_file(out);
  outcome.err = read_file(err);
  return outcome;
}

TempFolder::TempFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "reelfolio-e2e-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path TempFolder::write(const std::string& name, const std::string& text) const {
  const std::filesystem::path path = path_ / name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

std::string read_file(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

}  // namespace reelfolio::testing
