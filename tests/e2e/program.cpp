#include "tests/e2e/program.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace reelfolio::test {

RunningProgram::RunningProgram(const Invocation& invocation)
    : out_(invocation.stdout_path.empty() ? folder_.write("stdout", "") : invocation.stdout_path),
      keeps_out_(invocation.stdout_path.empty()) {
  const std::filesystem::path in = folder_.write("stdin", invocation.input);
  const std::filesystem::path err = folder_.write("stderr", "");

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

  child_ = fork();
  if (child_ < 0) throw std::runtime_error("fork failed");
  if (child_ == 0) {
    const auto open_as = [](const std::filesystem::path& path, int flags, int descriptor) {
      const int opened = open(path.c_str(), flags);
      if (opened < 0 || dup2(opened, descriptor) < 0) _exit(127);
      close(opened);
    };
    open_as(in, O_RDONLY, STDIN_FILENO);
    open_as(out_, O_WRONLY, STDOUT_FILENO);
    open_as(err, O_WRONLY, STDERR_FILENO);
    if (chdir(working.c_str()) != 0) _exit(127);
    // Tests that run in the background or under nohup hand on that signals are ignored.
    for (const int each : {SIGINT, SIGTERM, SIGHUP}) signal(each, SIG_DFL);
    execve(argv[0], argv.data(), envp.data());
    _exit(127);
  }
}

RunningProgram::~RunningProgram() {
  if (child_ < 0) return;
  kill(child_, SIGKILL);
  waitpid(child_, &status_, 0);
}

void RunningProgram::send(int signal) const {
  if (child_ >= 0) kill(child_, signal);
}

bool RunningProgram::running() {
  if (child_ >= 0 && waitpid(child_, &status_, WNOHANG) == child_) child_ = -1;
  return child_ >= 0;
}

Outcome RunningProgram::wait() {
  if (child_ >= 0) waitpid(child_, &status_, 0);
  child_ = -1;
  Outcome outcome;
  outcome.status = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  if (keeps_out_) outcome.out = read_file(out_);
  outcome.err = read_file(folder_ / "stderr");
  return outcome;
}

Outcome run_program(const Invocation& invocation) {
  return RunningProgram(invocation).wait();
}

Outcome run(std::vector<std::string> arguments) {
  return run_program({.arguments = std::move(arguments)});
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<nlohmann::json> json_lines(const std::string& jsonl) {
  std::vector<nlohmann::json> lines;
  std::istringstream stream(jsonl);
  for (std::string line; std::getline(stream, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

}  // namespace reelfolio::test
