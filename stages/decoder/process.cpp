#include "stages/decoder/process.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "stages/decoder/clock.h"
#include "stages/decoder/event_sender.h"
#include "stages/decoder/message.h"
#include "stages/probe.h"

namespace reelfolio::stages {
namespace {

constexpr std::size_t kMostRequestBytes = 1U << 17U;

void probe(const InputFile& input, EventSender& sender) {
  MediaKind media = MediaKind::unknown;
  try {
    ByteSource source(input.path);
    media = probe_container(source);
  } catch (const ItemError& error) {
    sender.not_probed(error);
    return;
  }
  sender.probed(media);
}

void serve(const DecodePlan& plan, int input_fd, int socket, EventSender& sender) {
  StageTimer timer(now_s, plan.stages.size());
  while (const auto bytes = receive_message(socket, kMostRequestBytes)) {
    DecodeRequest request = DecodeRequest::parse(*bytes);
    // The very file that the parent has opened, whatever has become of its name.
    const std::string opened = "/proc/self/fd/" + std::to_string(input_fd);
    if (access(opened.c_str(), R_OK) == 0) request.input.path = opened;
    if (request.kind == DecodeRequest::Kind::probe) {
      probe(request.input, sender);
      continue;
    }
    InputDecoder decoder(plan, timer);
    decoder.decode(std::make_shared<const InputFile>(std::move(request.input)), sender);
    sender.done(timer.costs());
    return;
  }
}

}  // namespace

int run_decoder_process(const DecodePlan& plan, int input_fd, int socket, const SharedMemory& memory) {
  try {
    EventSender sender(socket, memory);
    serve(plan, input_fd, socket, sender);
    return 0;
  } catch (const Cancelled&) {
    return 0;  // the parent has gone
  } catch (const std::bad_alloc&) {
    return kExitOutOfMemory;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return kExitInternal;
  }
}

}  // namespace reelfolio::stages
