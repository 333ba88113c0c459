#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavfilter/avfilter.h>
#include <libavformat/avformat.h>
#include <libavutil/frame.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stages/error.h"

/// What FFmpeg's C interface needs to be held safely: owners, errors as text, one file as input.
namespace reelfolio::stages::libav {

/// Beyond this a step ahead is a new clock, not a pause, in formats whose clock may start over.
constexpr double kLongestPauseS = 10;

struct FrameDeleter {
  void operator()(AVFrame* p) const { av_frame_free(&p); }
};
struct PacketDeleter {
  void operator()(AVPacket* p) const { av_packet_free(&p); }
};
struct CodecDeleter {
  void operator()(AVCodecContext* p) const { avcodec_free_context(&p); }
};
struct FormatDeleter {
  void operator()(AVFormatContext* p) const { avformat_close_input(&p); }
};
struct ScalerDeleter {
  void operator()(SwsContext* p) const { sws_freeContext(p); }
};
struct FilterGraphDeleter {
  void operator()(AVFilterGraph* p) const { avfilter_graph_free(&p); }
};
using FramePtr = std::unique_ptr<AVFrame, FrameDeleter>;
using PacketPtr = std::unique_ptr<AVPacket, PacketDeleter>;
using CodecPtr = std::unique_ptr<AVCodecContext, CodecDeleter>;
using FormatPtr = std::unique_ptr<AVFormatContext, FormatDeleter>;
using ScalerPtr = std::unique_ptr<SwsContext, ScalerDeleter>;
using FilterGraphPtr = std::unique_ptr<AVFilterGraph, FilterGraphDeleter>;

/// An empty frame. Throws std::bad_alloc.
FramePtr make_frame();
/// A second reference to the same pixels. Throws std::bad_alloc.
FramePtr share_frame(const AVFrame& frame);
PacketPtr make_packet();

/// Keeps FFmpeg from printing; its messages are kept for error_text. Any thread, any number of times.
void silence_log();
/// `code` as text, with the last error message FFmpeg logged on this thread since
/// `forget_messages`, if there was one.
std::string error_text(int code);
void forget_messages();

/// memory.limit where FFmpeg had no memory, else `usual`.
const char* error_code(int code, const char* usual);
/// What to say where nothing came of a file: "WHAT", or "WHAT: " and the first of the reader's problems, with
/// its code if that is memory.limit.
ItemError nothing_decoded(const char* usual, const std::string& what, const std::vector<ItemError>& problems);

/// "1.500 s", for messages.
std::string time_text(double seconds);

/// Packets and frames that could not be decoded properly: how many, and where and why the first. Those for
/// which there was no memory count apart, as they are no fault of the file's.
class Damage {
 public:
  /// `code` is FFmpeg's; its text is taken now.
  void add(int code, double time_s);
  void reset() { *this = {}; }
  bool lacked_memory() const { return lacked_.count > 0; }
  /// Adds memory.limit, or an error of this code: "3 packets could not be decoded properly, the first near
  /// 1.500 s: ...". `cut_s`: the file is truncated there, which is said already, and its last packet is half
  /// a packet.
  void report(const char* code, const char* one, const char* many, std::optional<double> cut_s,
              std::vector<ItemError>& problems) const;

 private:
  struct Kind {
    std::int64_t count = 0;
    double first_s = 0;
    std::string first_text{};
    std::string text(const char* one, const char* many) const;
  };
  Kind broken_;
  Kind lacked_;
};

/// Reads one file, no further than its size when it was opened, so that a file that grows meanwhile
/// stays the file that was hashed. FFmpeg opens nothing by itself.
class FileInput {
 public:
  /// Throws ItemError "input.unreadable". `interrupted` may be empty; once it returns true, reads fail
  /// with AVERROR_EXIT.
  FileInput(const std::filesystem::path& path, std::function<bool()> interrupted);
  ~FileInput();
  FileInput(const FileInput&) = delete;
  FileInput& operator=(const FileInput&) = delete;
  AVIOContext* context() { return io_; }
  bool interrupted() const { return interrupted_ && interrupted_(); }

 private:
  static int read(void* self, std::uint8_t* buffer, int size);
  static std::int64_t seek(void* self, std::int64_t offset, int whence);

  std::function<bool()> interrupted_;
  int fd_ = -1;
  std::int64_t size_ = 0;
  std::int64_t position_ = 0;
  AVIOContext* io_ = nullptr;
};

/// Opens the container, as far as its header tells of it. Playlists and references to other files are not
/// followed. Null where that fails, with the reason in `status`; `input` must outlive the result.
FormatPtr open_container(FileInput& input, int& status);
/// The same, and looks into the packets for what the header does not tell of the streams.
FormatPtr open_format(FileInput& input, int& status);

/// An open decoder of `stream`, which `configure` may set up before. Throws ItemError with code
/// `unsupported` where there is none or it refuses.
CodecPtr open_decoder(const AVStream& stream, const char* unsupported,
                      const std::function<void(AVCodecContext&)>& configure);

}  // namespace reelfolio::stages::libav
