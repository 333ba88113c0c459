#include "stages/video/libav.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <new>

#include "stages/error.h"
#include "stages/system_message.h"

namespace reelfolio::stages::libav {
namespace {

constexpr int kReadBytes = 1 << 16;

int refuse_to_open(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) {
  return AVERROR(EPERM);
}

std::string& last_message() {
  thread_local std::string message;
  return message;
}

void keep_message(void*, int level, const char* format, va_list arguments) {
  if (level > AV_LOG_ERROR) return;
  std::array<char, 512> text{};
  std::vsnprintf(text.data(), text.size(), format, arguments);
  std::string message = text.data();
  while (!message.empty() && (message.back() == '\n' || message.back() == '.')) message.pop_back();
  if (!message.empty()) last_message() = message;
}

}  // namespace

FramePtr make_frame() {
  FramePtr frame(av_frame_alloc());
  if (!frame) throw std::bad_alloc();
  return frame;
}

FramePtr share_frame(const AVFrame& frame) {
  FramePtr copy(av_frame_clone(&frame));
  if (!copy) throw std::bad_alloc();
  return copy;
}

PacketPtr make_packet() {
  PacketPtr packet(av_packet_alloc());
  if (!packet) throw std::bad_alloc();
  return packet;
}

void silence_log() {
  static std::once_flag once;
  std::call_once(once, [] { av_log_set_callback(keep_message); });
}

void forget_messages() {
  last_message().clear();
}

std::string time_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f s", seconds);
  return text;
}

void Damage::add(int code, double time_s) {
  Kind& kind = code == AVERROR(ENOMEM) ? lacked_ : broken_;
  if (kind.count++ > 0) return;
  kind.first_s = time_s;
  kind.first_text = error_text(code);
}

std::string Damage::Kind::text(const char* one, const char* many) const {
  return std::to_string(count) + " " + (count == 1 ? one : many) +
         " could not be decoded properly, the first near " + time_text(first_s) + ": " + first_text;
}

void Damage::report(const char* code, const char* one, const char* many, std::optional<double> cut_s,
                    std::vector<ItemError>& problems) const {
  if (lacked_.count > 0) problems.emplace_back(kMemoryLimit, lacked_.text(one, many));
  if (broken_.count > 0 && !(cut_s && broken_.first_s > *cut_s - 1))
    problems.emplace_back(code, broken_.text(one, many));
}

const char* error_code(int code, const char* usual) {
  return code == AVERROR(ENOMEM) ? kMemoryLimit : usual;
}

ItemError nothing_decoded(const char* usual, const std::string& what,
                          const std::vector<ItemError>& problems) {
  if (problems.empty()) return {usual, what};
  const ItemError& first = problems.front();
  return {first.code() == kMemoryLimit ? kMemoryLimit : usual, what + ": " + first.what()};
}

std::string error_text(int code) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(code, text.data(), text.size());
  std::string result = text.data();
  if (!result.empty() && result[0] >= 'A' && result[0] <= 'Z')
    result[0] = static_cast<char>(result[0] - 'A' + 'a');
  if (!last_message().empty()) result += " (" + last_message() + ")";
  return result;
}

FileInput::FileInput(const std::filesystem::path& path, std::function<bool()> interrupted)
    : interrupted_(std::move(interrupted)) {
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (fd_ < 0 || ::fstat(fd_, &status) != 0) {
    const int error = errno;
    if (fd_ >= 0) ::close(fd_);
    throw ItemError("input.unreadable", "cannot be read: " + system_message(error));
  }
  size_ = status.st_size;
  auto* buffer = static_cast<unsigned char*>(av_malloc(kReadBytes));
  if (buffer != nullptr) io_ = avio_alloc_context(buffer, kReadBytes, 0, this, read, nullptr, seek);
  if (io_ == nullptr) {
    av_free(buffer);
    ::close(fd_);
    throw std::bad_alloc();
  }
}

FileInput::~FileInput() {
  av_freep(&io_->buffer);
  avio_context_free(&io_);
  ::close(fd_);
}

int FileInput::read(void* self, std::uint8_t* buffer, int size) {
  auto& file = *static_cast<FileInput*>(self);
  if (file.interrupted()) return AVERROR_EXIT;
  const std::int64_t wanted = std::min<std::int64_t>(size, file.size_ - file.position_);
  if (wanted <= 0) return AVERROR_EOF;
  ssize_t got = 0;
  do {
    got = ::pread(file.fd_, buffer, static_cast<std::size_t>(wanted), file.position_);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return AVERROR(errno);
  if (got == 0) return AVERROR_EOF;
  file.position_ += got;
  return static_cast<int>(got);
}

std::int64_t FileInput::seek(void* self, std::int64_t offset, int whence) {
  auto& file = *static_cast<FileInput*>(self);
  switch (whence & ~AVSEEK_FORCE) {
    case AVSEEK_SIZE:
      return file.size_;
    case SEEK_SET:
      break;
    case SEEK_CUR:
      offset += file.position_;
      break;
    case SEEK_END:
      offset += file.size_;
      break;
    default:
      return AVERROR(EINVAL);
  }
  if (offset < 0) return AVERROR(EINVAL);
  file.position_ = offset;
  return offset;
}

FormatPtr open_container(FileInput& input, int& status) {
  AVFormatContext* raw = avformat_alloc_context();
  if (raw == nullptr) throw std::bad_alloc();
  raw->pb = input.context();
  raw->flags |= AVFMT_FLAG_CUSTOM_IO;
  raw->io_open = refuse_to_open;
  status = avformat_open_input(&raw, nullptr, nullptr, nullptr);  // frees `raw` if it fails
  return FormatPtr(status < 0 ? nullptr : raw);
}

FormatPtr open_format(FileInput& input, int& status) {
  FormatPtr format = open_container(input, status);
  if (format) status = avformat_find_stream_info(format.get(), nullptr);
  if (status < 0) format.reset();
  return format;
}

CodecPtr open_decoder(const AVStream& stream, const char* unsupported,
                      const std::function<void(AVCodecContext&)>& configure) {
  const AVCodecParameters& parameters = *stream.codecpar;
  const AVCodec* decoder = avcodec_find_decoder(parameters.codec_id);
  if (decoder == nullptr) {
    throw ItemError(unsupported,
                    std::string("no decoder for codec ") + avcodec_get_name(parameters.codec_id));
  }
  CodecPtr codec(avcodec_alloc_context3(decoder));
  if (!codec) throw std::bad_alloc();
  int status = avcodec_parameters_to_context(codec.get(), &parameters);
  codec->pkt_timebase = stream.time_base;
  configure(*codec);
  if (status >= 0) status = avcodec_open2(codec.get(), decoder, nullptr);
  if (status < 0) {
    throw ItemError(error_code(status, unsupported),
                    std::string("cannot decode ") + decoder->name + ": " + error_text(status));
  }
  return codec;
}

}  // namespace reelfolio::stages::libav
