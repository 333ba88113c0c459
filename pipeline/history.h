#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "pipeline/media_cache.h"
#include "stages/decoder/message.h"
#include "stages/record.h"

namespace reelfolio::pipeline {

struct ListedInput;

/// All that the decoding of one input reported, in order, but for pixels and samples.
struct Decoding {
  struct Event {
    stages::Message message;  ///< emitted, unit_closed or failed
    /// emitted: content hashes (MediaHashes) of message.pictures, then of message.sound's clips.
    std::vector<std::string> media;
  };
  std::vector<Event> events;
};

/// What the model made of one request: an answer, or why it cannot take it.
struct KnownAnswer {
  engine::Answer answer;
  std::optional<std::string> refused;
};

/// What is known of an input before it is worked on.
struct Found {
  std::optional<stages::InputResult> result;  ///< complete, if it need not be made again
  /// Why it is made again, or is not, for --explain: "done before", "new", "the content has changed".
  std::string reason;
};

/// What earlier runs have done. Lookups are called on decoder threads, at once; records on any
/// thread; `flush` on one.
class History {
 public:
  virtual ~History() = default;

  /// What a file is, without opening it, where it has not changed since it was hashed.
  virtual std::optional<stages::InputFile> unchanged(const ListedInput& input) = 0;
  /// The file that `unchanged` did not know has been opened and hashed.
  virtual void record_file(const stages::InputFile& input) = 0;

  virtual Found find(const stages::InputFile& input) = 0;
  /// How an input came apart under the transforms of this graph.
  virtual std::optional<Decoding> decoding(const stages::InputFile& input) = 0;
  virtual void record_decoding(const stages::InputFile& input, const Decoding& decoding) = 0;
  /// The pictures and sounds of that decoding, as far as they are kept. Null: none are.
  virtual std::unique_ptr<MediaCache::Reader> media(const stages::InputFile& input) = 0;
  /// Keeps those of the decoding that begins. Null: none will be kept.
  virtual std::unique_ptr<MediaCache::Writer> record_media(const stages::InputFile& input) = 0;

  /// By answer_key.h.
  virtual std::optional<KnownAnswer> answer(const std::string& key) = 0;
  virtual void record_answer(const std::string& key, const KnownAnswer& answer) = 0;
  /// Fingerprint of the model in use and its weights.
  virtual const std::string& model() const = 0;

  /// A result made by this run, before the sink receives it, and the keys of the answers that it rests on.
  virtual void record(const stages::InputResult& result, const std::vector<std::string>& answers) = 0;
  /// Makes what was recorded durable. Throws OutputError.
  virtual void flush() = 0;
};

}  // namespace reelfolio::pipeline
