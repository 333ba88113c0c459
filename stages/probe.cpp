#include "stages/probe.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "stages/byte_source.h"
#include "stages/error.h"
#include "stages/image/gif_structure.h"
#include "stages/image/signature.h"
#include "stages/stage.h"
#include "stages/system_message.h"
#include "stages/text/encoding.h"
#include "stages/utf8.h"

extern "C" {
#include <libavformat/avformat.h>
#include <libavutil/log.h>
}

namespace reelfolio::stages {
namespace {

constexpr std::size_t kHeadBytes = 4096;
constexpr std::size_t kTailBytes = 2048;
/// Larger files are text only where they are UTF-8, or UTF-16 with a mark.
constexpr std::uint64_t kMaxLegacyTextBytes = std::uint64_t{64} << 20U;
constexpr std::size_t kChunkBytes = std::size_t{1} << 18;

/// Whether bytes that arrive in pieces are text.
class TextCheck {
 public:
  void feed(std::string_view bytes) {
    if (first_) {
      first_ = false;
      utf16_ = bytes.substr(0, 2) == "\xFF\xFE" || bytes.substr(0, 2) == "\xFE\xFF";
      big_endian_ = utf16_ && bytes[0] == '\xFE';
    }
    if (!text_) return;
    text_ = utf16_ ? feed_utf16(bytes) : feed_utf8(bytes);
  }
  bool is_text() const { return text_ && (utf16_ ? !half_unit_ && !high_surrogate_ : utf8_.complete()); }

 private:
  /// Tab, line feed, vertical tab, form feed, carriage return; escape, for terminal logs.
  static bool is_control(unsigned code) {
    return (code < 0x20 && !(code >= 0x09 && code <= 0x0D) && code != 0x1B) || code == 0x7F;
  }

  bool feed_utf8(std::string_view bytes) {
    return utf8_.feed(bytes) && std::none_of(bytes.begin(), bytes.end(), [](char c) {
             return is_control(static_cast<unsigned char>(c));
           });
  }

  bool feed_utf16(std::string_view bytes) {
    for (const char c : bytes) {
      const auto byte = static_cast<unsigned char>(c);
      if (!half_unit_) {
        half_unit_ = byte;
        continue;
      }
      const unsigned unit = big_endian_ ? (*half_unit_ << 8U) | byte : *half_unit_ | (unsigned{byte} << 8U);
      half_unit_.reset();
      const bool low_surrogate = unit >= 0xDC00 && unit <= 0xDFFF;
      if (low_surrogate != high_surrogate_ || is_control(unit)) return false;
      high_surrogate_ = unit >= 0xD800 && unit <= 0xDBFF;
    }
    return true;
  }

  bool first_ = true;
  bool text_ = true;
  bool utf16_ = false;
  bool big_endian_ = false;
  Utf8Check utf8_;
  std::optional<unsigned> half_unit_;
  bool high_surrogate_ = false;
};

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  }
  void feed(std::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &length);
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (unsigned i = 0; i < length; ++i) {
      text += kDigits[digest[i] >> 4U];
      text += kDigits[digest[i] & 15U];
    }
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

/// What one pass over the file tells.
struct Scan {
  std::string sha256;
  std::string head;
  std::string tail;
  bool is_text = false;
};

Scan scan(ByteSource& source, const std::function<bool()>& stopped) {
  Scan result;
  Sha256 sha256;
  TextCheck text;
  std::vector<char> chunk(kChunkBytes);
  std::uint64_t total = 0;
  // One byte beyond the size seen at opening tells a file that grows, without
  // following it for as long as its writer goes on.
  while (total <= source.size()) {
    if (stopped && stopped()) throw Cancelled{};
    const std::size_t want =
        static_cast<std::size_t>(std::min<std::uint64_t>(chunk.size(), source.size() - total + 1));
    const std::size_t got = source.read(chunk.data(), want);
    const std::string_view bytes(chunk.data(), got);
    sha256.feed(bytes);
    text.feed(bytes);
    if (result.head.size() < kHeadBytes) result.head.append(bytes.substr(0, kHeadBytes - result.head.size()));
    result.tail.append(bytes.substr(got - std::min(got, kTailBytes)));
    if (result.tail.size() > kTailBytes) result.tail.erase(0, result.tail.size() - kTailBytes);
    total += got;
    if (got < want) break;
  }
  if (source.failed()) {
    throw ItemError("input.unreadable", "cannot be read: " + system_message(source.error()));
  }
  if (total != source.size() || source.changed()) {
    throw ItemError(kInputChanged,
                    "changed while it was read (" + std::to_string(source.size()) + " bytes when opened)");
  }
  result.sha256 = sha256.hex();
  result.is_text = text.is_text();
  return result;
}

/// Offset of "%PDF-" and a digit within the first 1024 bytes, as PDF readers allow.
std::optional<std::size_t> find_pdf_header(std::string_view head) {
  constexpr std::string_view kMagic = "%PDF-";
  const std::string_view window = head.substr(0, 1024 + kMagic.size() + 1);
  for (std::size_t at = window.find(kMagic); at != std::string_view::npos; at = window.find(kMagic, at + 1)) {
    const std::size_t digit = at + kMagic.size();
    if (digit < window.size() && window[digit] >= '0' && window[digit] <= '9') return at;
  }
  return std::nullopt;
}

int read_packet(void* opaque, std::uint8_t* to, int size) {
  auto& source = *static_cast<ByteSource*>(opaque);
  const std::size_t got = source.read(to, static_cast<std::size_t>(size));
  if (source.failed()) return AVERROR(source.error());
  return got == 0 ? AVERROR_EOF : static_cast<int>(got);
}

std::int64_t seek_packet(void* opaque, std::int64_t offset, int whence) {
  auto& source = *static_cast<ByteSource*>(opaque);
  const auto size = static_cast<std::int64_t>(source.size());
  if ((whence & AVSEEK_SIZE) != 0) return size;
  switch (whence & ~AVSEEK_FORCE) {
    case SEEK_CUR:
      offset += static_cast<std::int64_t>(source.position());
      break;
    case SEEK_END:
      offset += size;
      break;
    default:
      break;
  }
  if (offset < 0) return AVERROR(EINVAL);
  source.seek(static_cast<std::uint64_t>(offset));
  return offset;
}

struct FormatCloser {
  void operator()(AVFormatContext* context) const { avformat_close_input(&context); }
};
struct IoFreer {
  void operator()(AVIOContext* io) const {
    av_freep(&io->buffer);
    avio_context_free(&io);
  }
};

bool is_moving_video(const AVStream& stream) {
  constexpr int kStill = AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_TIMED_THUMBNAILS;
  return stream.codecpar->codec_type == AVMEDIA_TYPE_VIDEO && (stream.disposition & kStill) == 0;
}

/// Demuxers that present one picture as a video; pictures have decoders of their own here.
bool is_picture_format(std::string_view format) {
  return format == "image2" || (format.size() > 5 && format.substr(format.size() - 5) == "_pipe");
}

/// HEIF and AVIF: containers like MP4, so that libavformat may take them for one.
bool is_heif(std::string_view head) {
  if (head.size() < 12 || head.substr(4, 4) != "ftyp") return false;
  constexpr std::string_view kBrands[] = {"heic", "heix", "heim", "heis", "mif1", "avif", "avis"};
  return std::find(std::begin(kBrands), std::end(kBrands), head.substr(8, 4)) != std::end(kBrands);
}

}  // namespace

MediaKind probe_container(ByteSource& source) {
  static std::once_flag quiet;
  std::call_once(quiet, [] { av_log_set_level(AV_LOG_QUIET); });

  constexpr int kBufferBytes = 1 << 16;
  auto* buffer = static_cast<unsigned char*>(av_malloc(kBufferBytes));
  if (buffer == nullptr) throw std::bad_alloc();
  source.seek(0);
  const std::unique_ptr<AVIOContext, IoFreer> io(
      avio_alloc_context(buffer, kBufferBytes, 0, &source, read_packet, nullptr, seek_packet));
  if (!io) {
    av_free(buffer);
    throw std::bad_alloc();
  }
  AVFormatContext* context = avformat_alloc_context();
  if (context == nullptr) throw std::bad_alloc();
  context->pb = io.get();
  context->flags |= AVFMT_FLAG_CUSTOM_IO;
  // A file must not make libav open another one.
  AVDictionary* options = nullptr;
  av_dict_set(&options, "protocol_whitelist", "none", 0);
  const int opened = avformat_open_input(&context, nullptr, nullptr, &options);
  av_dict_free(&options);
  if (opened < 0) return MediaKind::unknown;  // frees the context itself
  const std::unique_ptr<AVFormatContext, FormatCloser> closer(context);
  if (is_picture_format(context->iformat->name)) return MediaKind::unknown;

  // Headers name the streams in most containers. Only those that do not (MPEG-TS, raw
  // streams) need packets read, and those need them to tell a stream from noise.
  avformat_find_stream_info(context, nullptr);
  bool has_video = false;
  bool has_audio = false;
  for (unsigned i = 0; i < context->nb_streams; ++i) {
    const AVStream& stream = *context->streams[i];
    const AVCodecParameters& codec = *stream.codecpar;
    if (codec.codec_id == AV_CODEC_ID_NONE && codec.codec_tag == 0) continue;
    has_video = has_video || is_moving_video(stream);
    has_audio = has_audio || (codec.codec_type == AVMEDIA_TYPE_AUDIO && codec.sample_rate > 0);
  }
  if (has_video) return MediaKind::video;
  return has_audio ? MediaKind::audio : MediaKind::unknown;
}

namespace {

MediaKind kind_of(ByteSource& source, const Scan& scan, const ContainerProbe& containers) {
  const std::optional<std::size_t> pdf = find_pdf_header(scan.head);
  if (pdf == 0U) return MediaKind::pdf;
  switch (picture_format(scan.head)) {
    case PictureFormat::gif:
      return scan_gif(source, 2).images > 1 ? MediaKind::video : MediaKind::image;
    case PictureFormat::unknown:
      break;
    default:
      return MediaKind::image;
  }
  // Prose may quote the header; an ASCII-only PDF behind other bytes still has its end.
  if (pdf && (!scan.is_text || scan.tail.find("%%EOF") != std::string::npos)) return MediaKind::pdf;
  if (scan.is_text) return MediaKind::text;
  if (is_heif(scan.head)) throw ItemError("input.unsupported", "HEIF and AVIF pictures cannot be read");
  const MediaKind kind = containers(source);
  if (kind == MediaKind::unknown && source.size() <= kMaxLegacyTextBytes) {
    const std::vector<std::uint8_t> bytes = source.read_all(kMaxLegacyTextBytes);
    if (looks_like_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()})) return MediaKind::text;
  }
  if (kind == MediaKind::unknown) {
    throw ItemError("input.unsupported", "content is no video, sound, PDF, picture or text that can be read");
  }
  return kind;
}

}  // namespace

InputFile probe_input(const std::filesystem::path& path, const std::string& name,
                      const std::function<bool()>& stopped) {
  ByteSource source(path);
  return probe_input(source, path, name, stopped, probe_container);
}

InputFile probe_input(ByteSource& source, const std::filesystem::path& path, const std::string& name,
                      const std::function<bool()>& stopped, const ContainerProbe& containers) {
  if (source.size() == 0 && !source.changed()) throw ItemError("input.empty", "is empty");
  InputFile file;
  file.name = replace_invalid_utf8(name);
  file.path = path;
  file.size_bytes = source.size();
  const Scan result = scan(source, stopped);
  file.sha256 = result.sha256;
  file.media = kind_of(source, result, containers);
  return file;
}

}  // namespace reelfolio::stages
