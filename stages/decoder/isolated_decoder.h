#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stages/byte_source.h"
#include "stages/decoder/decode.h"
#include "stages/decoder/server.h"

namespace reelfolio::stages {

/// Does for one decoder thread what probe_input and InputDecoder do, with each input in a process of
/// its own. Borrows server and timer. Not thread-safe.
///
/// However that process ends, what it made before is kept, and one error says why it ended:
///   time.limit       it worked for longer than it may, or gave no sign of life for too long
///   memory.limit     it wanted more memory than it may have, or than the system had
///   decoder.crashed  anything else; the message says how
class IsolatedDecoder : public DecoderThread {
 public:
  IsolatedDecoder(DecoderServer& server, StageTimer& timer) : server_(server), timer_(timer) {}

  /// As probe_input; throws these codes as ItemError too. The content is read, hashed and told by its
  /// signature here; only containers are opened by FFmpeg, in the process that may decode them later.
  InputFile probe(const std::filesystem::path& path, const std::string& name,
                  const std::function<bool()>& stopped) override;

  /// As InputDecoder::decode, for what was probed last or any other file. Throws Cancelled, within a
  /// fraction of a second after `events` says that it is stopped.
  void decode(const std::shared_ptr<const InputFile>& input, DecodeEvents& events) override;

  /// Ends the process, if there is one, and closes the input.
  void forget() override;

 private:
  /// Why there will be no more messages.
  struct Ended {
    std::string code;
    std::string message;
  };
  using Bytes = std::vector<std::uint8_t>;

  MediaKind probe_container(const std::filesystem::path& path, const std::function<bool()>& stopped);
  void start();
  Bytes next_message(const std::function<bool()>& stopped, DecodeEvents* events);
  Ended how_it_ended();
  SharedState& state() const;

  DecoderServer& server_;
  StageTimer& timer_;
  std::optional<ByteSource> source_;
  std::filesystem::path path_;  ///< of source_
  std::optional<DecoderServer::Process> process_;
  std::optional<SharedView> state_view_;
  double worked_s_ = 0;  ///< by the process
};

/// An IsolatedDecoder, or without a server an InputDecoder.
std::unique_ptr<DecoderThread> make_decoder_thread(const DecodePlan& plan, StageTimer& timer,
                                                   DecoderServer* server);

}  // namespace reelfolio::stages
