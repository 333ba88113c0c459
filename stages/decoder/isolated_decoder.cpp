#include "stages/decoder/isolated_decoder.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

#include "stages/decimal.h"
#include "stages/decoder/clock.h"
#include "stages/decoder/event_receiver.h"
#include "stages/decoder/message.h"
#include "stages/decoder/process.h"
#include "stages/probe.h"
#include "stages/stage.h"
#include "stages/system_message.h"
#include "stages/utf8.h"

namespace reelfolio::stages {
namespace {

constexpr const char* kTimeLimit = "time.limit";
constexpr const char* kCrashed = "decoder.crashed";
// How often the parent looks whether it is to stop.
constexpr int kLookMs = 50;
// A process that has hung up is gone soon after.
constexpr int kEndMs = 10'000;
// Memory of pictures beyond this is given back once they are copied.
constexpr std::uint64_t kKeptBytes = std::uint64_t{64} << 20U;

bool wait_for(int fd, int timeout_ms) {
  pollfd waiting{fd, POLLIN, 0};
  return poll(&waiting, 1, timeout_ms) > 0;
}

std::string in_seconds(double seconds) {
  return milliseconds_text(seconds) + " s";
}

/// The last line of what a process wrote before it ended.
std::string last_words(int errors) {
  std::string text;
  char bytes[4096];
  for (ssize_t got = 0; (got = read(errors, bytes, sizeof bytes)) > 0;) {
    text.append(bytes, static_cast<std::size_t>(got));
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  text.erase(0, text.rfind('\n') + 1);
  text = replace_invalid_utf8(text);
  truncate_utf8(text, 200);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return text;
}

}  // namespace

void IsolatedDecoder::forget() {
  process_.reset();
  state_view_.reset();
  source_.reset();
  path_.clear();
}

void IsolatedDecoder::start() {
  process_.emplace(server_.start(source_->descriptor()));
  state_view_.emplace(process_->memory, 0, SharedState::kBytes);
  worked_s_ = 0;
}

SharedState& IsolatedDecoder::state() const {
  return *reinterpret_cast<SharedState*>(state_view_->data());
}

InputFile IsolatedDecoder::probe(const std::filesystem::path& path, const std::string& name,
                                 const std::function<bool()>& stopped) {
  forget();
  source_.emplace(path);
  path_ = path;
  try {
    return probe_input(*source_, path, name, stopped,
                       [&](ByteSource&) { return probe_container(path, stopped); });
  } catch (...) {
    forget();
    throw;
  }
}

MediaKind IsolatedDecoder::probe_container(const std::filesystem::path& path,
                                           const std::function<bool()>& stopped) {
  start();
  DecodeRequest request;
  request.input.path = path;
  send_message(process_->socket.get(), request.bytes());
  try {
    const Message message = Message::parse(next_message(stopped, nullptr));
    if (message.kind != Message::Kind::probed) throw ProtocolError("an answer came that nobody asked for");
    const std::uint64_t go_on = 0;
    send_message(process_->socket.get(), {reinterpret_cast<const std::uint8_t*>(&go_on), sizeof go_on});
    if (!message.code.empty()) throw ItemError(message.code, message.text);
    const bool is_container = message.media == MediaKind::video || message.media == MediaKind::audio;
    return is_container ? message.media : MediaKind::unknown;
  } catch (const Ended& ended) {
    throw ItemError(ended.code, ended.message);
  } catch (const ProtocolError& error) {
    throw ItemError(kCrashed, "the decoder process sent what makes no sense: " + std::string(error.what()));
  }
}

void IsolatedDecoder::decode(const std::shared_ptr<const InputFile>& input, DecodeEvents& events) {
  struct AtEnd {
    ~AtEnd() { decoder.forget(); }
    IsolatedDecoder& decoder;
  } const at_end{*this};
  if (!source_ || path_ != input->path) {
    forget();
    try {
      source_.emplace(input->path);
    } catch (const ItemError& error) {
      events.failed(DecodePlan::kInputs, nullptr, error.code(), error.what());
      return;
    }
    path_ = input->path;
  }
  // Between the hash and now; what happens from now on, the process sees.
  if (source_->changed()) {
    events.failed(DecodePlan::kInputs, nullptr, kInputChanged, "changed before it was decoded");
    return;
  }
  if (!process_) start();
  DecodeRequest request;
  request.kind = DecodeRequest::Kind::decode;
  request.input = *input;
  send_message(process_->socket.get(), request.bytes());

  EventReceiver receiver(server_.plan(), input, events, server_.limits().memory_bytes);
  std::uint64_t read_to = 0;
  const EventReceiver::ReadBlob read_blob = [&](std::uint64_t offset, void* to, std::size_t size) {
    read_to = offset + size;
    return process_->memory.read(SharedState::kBytes + offset, to, size);
  };
  const auto fail = [&](const std::string& code, const std::string& message) {
    const std::int32_t stage = state().stage.load(std::memory_order_relaxed);
    const bool known = stage >= 0 && static_cast<std::size_t>(stage) < server_.plan().stages.size() &&
                       server_.plan().stages[stage].transform != nullptr;
    events.failed(known ? stage : DecodePlan::kInputs, nullptr, code, message);
  };
  try {
    for (;;) {
      const Bytes message = next_message([&events] { return events.stopped(); }, &events);
      read_to = 0;
      const auto reply = receiver.take(message, read_blob);
      if (!reply) break;
      if (read_to > kKeptBytes)
        process_->memory.forget(SharedState::kBytes + kKeptBytes, read_to - kKeptBytes);
      send_message(process_->socket.get(), {reinterpret_cast<const std::uint8_t*>(&*reply), sizeof *reply});
    }
    timer_.add(receiver.costs());
  } catch (const Ended& ended) {
    fail(ended.code, ended.message);
  } catch (const ProtocolError& error) {
    fail(kCrashed, "the decoder process sent what makes no sense: " + std::string(error.what()));
  }
}

/// Waits while the process works. Throws Ended, Cancelled.
IsolatedDecoder::Bytes IsolatedDecoder::next_message(const std::function<bool()>& stopped,
                                                     DecodeEvents* events) {
  const DecoderLimits& limits = server_.limits();
  const double since_s = now_s();
  double moved_s = since_s;
  std::uint32_t beats = state().beats.load(std::memory_order_relaxed);
  float part = state().part.load(std::memory_order_relaxed);
  while (!wait_for(process_->socket.get(), kLookMs)) {
    if (stopped && stopped()) throw Cancelled{};
    const double time_s = now_s();
    if (worked_s_ + time_s - since_s > limits.time_s) {
      throw Ended{kTimeLimit, "took longer than " + in_seconds(limits.time_s) + " to decode (input_time)"};
    }
    if (const std::uint32_t now = state().beats.load(std::memory_order_relaxed); now != beats) {
      beats = now;
      moved_s = time_s;
    }
    if (time_s - moved_s > limits.stall_s) {
      throw Ended{kTimeLimit, "decoding has not moved for " + in_seconds(limits.stall_s) + " (input_stall)"};
    }
    if (const float now = state().part.load(std::memory_order_relaxed); events != nullptr && now != part) {
      part = now;
      if (part >= 0 && part <= 1) events->advanced(static_cast<double>(part));
    }
  }
  worked_s_ += now_s() - since_s;
  const auto bell = receive_message(process_->socket.get(), sizeof(std::uint32_t));
  if (!bell) throw how_it_ended();
  std::uint32_t size = 0;
  if (bell->size() != sizeof size) throw ProtocolError("a message is not announced properly");
  std::memcpy(&size, bell->data(), sizeof size);
  if (size > Message::kMostBytes) throw ProtocolError("a message is too long");
  Bytes message(size);
  if (!process_->memory.read(SharedState::kBytes, message.data(), size)) {
    throw ProtocolError("a message is not where it should be");
  }
  return message;
}

/// The process has hung up.
IsolatedDecoder::Ended IsolatedDecoder::how_it_ended() {
  std::optional<Bytes> bytes;
  if (wait_for(process_->end.get(), kEndMs)) bytes = receive_message(process_->end.get(), sizeof(ProcessEnd));
  ProcessEnd end;
  if (!bytes || bytes->size() != sizeof end) return {kCrashed, "the decoder process hung up and went on"};
  std::memcpy(&end, bytes->data(), sizeof end);
  if (end.wait_status == -1) {
    return {kCrashed, "the decoder process could not be started: " + system_message(end.errno_value)};
  }
  const std::string words = last_words(process_->errors.get());
  const std::string detail = words.empty() ? "" : " (" + words + ")";
  const std::string wanted = "needs more memory than it may have (input_memory, " +
                             std::to_string(server_.limits().memory_bytes) + " bytes)";
  if (WIFSIGNALED(end.wait_status)) {
    const int signal = WTERMSIG(end.wait_status);
    if (signal == SIGXCPU) return {kTimeLimit, "took more processor time than it may have (input_time)"};
    // What Poppler says before it gives up.
    if (signal == SIGABRT && words.find("Out of memory") != std::string::npos) return {kMemoryLimit, wanted};
    if (signal == SIGKILL) {
      return {kMemoryLimit, "the decoder process was killed by the system, most likely for want of memory"};
    }
    return {kCrashed, "the decoder process was ended by signal " + std::to_string(signal) + ", " +
                          std::string(strsignal(signal)) + detail};
  }
  const int code = WEXITSTATUS(end.wait_status);
  if (code == kExitOutOfMemory) return {kMemoryLimit, wanted};
  return {kCrashed, "the decoder process ended with exit code " + std::to_string(code) + detail};
}

std::unique_ptr<DecoderThread> make_decoder_thread(const DecodePlan& plan, StageTimer& timer,
                                                   DecoderServer* server) {
  if (server != nullptr) return std::make_unique<IsolatedDecoder>(*server, timer);
  return std::make_unique<InputDecoder>(plan, timer);
}

}  // namespace reelfolio::stages
