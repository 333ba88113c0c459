#include "stages/text/read_text.h"

#include <algorithm>
#include <utility>

#include "stages/byte_source.h"
#include "stages/text/encoding.h"
#include "stages/text/html_text.h"
#include "stages/text/plain_text.h"
#include "stages/text/subtitles.h"
#include "stages/text/text_parts.h"

namespace reelfolio::stages {

namespace {

struct TextSettings {
  std::string stage_name;
  std::string format;
  std::string encoding;
  std::size_t part_tokens;
  int max_parts;
  std::uint64_t max_bytes;
};

class TextWorker final : public Transform::Worker {
 public:
  explicit TextWorker(const TextSettings& settings) : settings_(settings) {}

  void process(const Item& item, Emitter& out) override {
    const TextLines lines = read_lines(*item.input, out);
    const int last_line = lines.empty() ? 1 : lines.back().line;
    int index = 0;
    divide_text(
        lines, settings_.part_tokens, [&](std::string_view text) { return out.count_tokens(text); },
        [&](TextPart part) {
          if (out.stopped()) throw Cancelled{};
          if (index == settings_.max_parts) {
            out.error(ItemError("text.part_limit", "has more than " + std::to_string(settings_.max_parts) +
                                                       " parts (max_parts); the rest is left out"),
                      nullptr);
            return false;
          }
          auto unit = std::make_shared<Unit>();
          unit->producer = settings_.stage_name;
          unit->kind = UnitKind::text;
          unit->index = index++;
          unit->first_line = part.first_line;
          unit->last_line = part.last_line;
          if (part.start_s && part.end_s) {
            unit->timed = true;
            unit->start_s = *part.start_s;
            unit->end_s = *part.end_s;
          }
          unit->text = std::move(part.text);
          const double done = static_cast<double>(part.last_line) / std::max(1, last_line);
          out.emit({item.input, std::move(unit), {}});
          out.advanced(done);
          return true;
        });
    if (index == 0) throw ItemError("text.empty", "holds no text");
  }

 private:
  TextLines read_lines(const InputFile& input, const Emitter& out) const {
    ByteSource source(input.path);
    if (source.size() != input.size_bytes) throw ItemError("input.changed", "changed since it was looked at");
    if (source.size() > settings_.max_bytes) {
      throw ItemError("text.too_large", "has " + std::to_string(source.size()) + " bytes, expected at most " +
                                            std::to_string(settings_.max_bytes) + " (max_bytes)");
    }
    const std::vector<std::uint8_t> bytes = source.read_all(settings_.max_bytes);
    const std::string text =
        decode_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, settings_.encoding).text;
    const bool detect = settings_.format == "auto";
    if (settings_.format == "html" || (detect && is_html(text))) {
      return html_lines(text, [&out] { return out.stopped(); });
    }
    if (settings_.format == "subtitles" || (detect && is_subtitles(text))) return subtitle_lines(text);
    return plain_lines(text, settings_.format != "plain");
  }

  const TextSettings& settings_;  // of the stage, which outlives its workers
};

class ReadText final : public Transform {
 public:
  ReadText(const Params& params, const StageContext& context)
      : settings_{context.stage_name,
                  params.text("format"),
                  params.text("encoding"),
                  static_cast<std::size_t>(params.integer("part_tokens")),
                  static_cast<int>(params.integer("max_parts")),
                  static_cast<std::uint64_t>(params.integer("max_bytes"))} {
    if (!is_known_encoding(settings_.encoding)) {
      throw ParamError("encoding",
                       "'" + settings_.encoding +
                           "' is no encoding that this system knows, expected auto or a name such as "
                           "UTF-16LE, ISO-8859-2 or SHIFT_JIS");
    }
  }
  std::unique_ptr<Worker> make_worker() const override { return std::make_unique<TextWorker>(settings_); }

 private:
  TextSettings settings_;
};

}  // namespace

StageType read_text_type() {
  StageType type;
  type.name = "read_text";
  type.help = "reads plain text, Markdown, HTML and subtitles in parts that a prompt holds";
  type.accepts = {ItemType::text_file};
  type.produces = {ItemType::text};
  type.params = {
      {.name = "format",
       .type = ParamType::choice,
       .help = "what the files are; auto: by their content (plain text is read as Markdown)",
       .default_value = std::string("auto"),
       .choices = {"auto", "plain", "markdown", "html", "subtitles"}},
      {.name = "encoding",
       .type = ParamType::text,
       .help = "auto, or a name that iconv knows (SHIFT_JIS, KOI8-R, ...)",
       .default_value = std::string("auto")},
      {.name = "part_tokens",
       .type = ParamType::integer,
       .help = "tokens of one part at most; cut at headings, paragraphs or sentences",
       .default_value = std::int64_t{4096},
       .min = 16,
       .max = 131072},
      {.name = "max_parts",
       .type = ParamType::integer,
       .help = "parts of one file; more are left out and reported",
       .default_value = std::int64_t{10000},
       .min = 1,
       .max = 1'000'000},
      {.name = "max_bytes",
       .type = ParamType::integer,
       .help = "size of one file; a larger one is an error",
       .default_value = std::int64_t{16} << 20U,
       .min = 1,
       .max = 1U << 30U},
  };
  type.make_transform = [](const Params& params, const StageContext& context) -> std::unique_ptr<Transform> {
    return std::make_unique<ReadText>(params, context);
  };
  return type;
}

}  // namespace reelfolio::stages
