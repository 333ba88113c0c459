#include "stages/audio/track_choice.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "stages/error.h"
#include "stages/utf8.h"

namespace reelfolio::stages {
namespace {

/// ISO 639-1, 639-2/T and 639-2/B of the languages that films are commonly in.
constexpr std::array<std::array<std::string_view, 3>, 48> kCodes = {{
    {"ar", "ara", "ara"}, {"bg", "bul", "bul"}, {"bn", "ben", "ben"}, {"ca", "cat", "cat"},
    {"cs", "ces", "cze"}, {"da", "dan", "dan"}, {"de", "deu", "ger"}, {"el", "ell", "gre"},
    {"en", "eng", "eng"}, {"es", "spa", "spa"}, {"et", "est", "est"}, {"eu", "eus", "baq"},
    {"fa", "fas", "per"}, {"fi", "fin", "fin"}, {"fr", "fra", "fre"}, {"ga", "gle", "gle"},
    {"gl", "glg", "glg"}, {"he", "heb", "heb"}, {"hi", "hin", "hin"}, {"hr", "hrv", "hrv"},
    {"hu", "hun", "hun"}, {"hy", "hye", "arm"}, {"id", "ind", "ind"}, {"is", "isl", "ice"},
    {"it", "ita", "ita"}, {"ja", "jpn", "jpn"}, {"ko", "kor", "kor"}, {"lt", "lit", "lit"},
    {"lv", "lav", "lav"}, {"mk", "mkd", "mac"}, {"ms", "msa", "may"}, {"nb", "nob", "nob"},
    {"nl", "nld", "dut"}, {"no", "nor", "nor"}, {"pl", "pol", "pol"}, {"pt", "por", "por"},
    {"ro", "ron", "rum"}, {"ru", "rus", "rus"}, {"sk", "slk", "slo"}, {"sl", "slv", "slv"},
    {"sq", "sqi", "alb"}, {"sr", "srp", "srp"}, {"sv", "swe", "swe"}, {"ta", "tam", "tam"},
    {"th", "tha", "tha"}, {"tr", "tur", "tur"}, {"uk", "ukr", "ukr"}, {"zh", "zho", "chi"},
}};

/// The language alone, in small letters: "de" of "de-AT".
std::string primary_tag(std::string_view tag) {
  std::string primary(tag.substr(0, tag.find_first_of("-_")));
  for (char& c : primary) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return primary;
}

std::string language_of(const AVStream& stream) {
  const AVDictionaryEntry* entry = av_dict_get(stream.metadata, "language", nullptr, 0);
  const std::string tag = entry != nullptr ? entry->value : "";
  return tag == "und" ? "" : tag;
}

std::string track_list(const std::vector<AVStream*>& tracks) {
  std::string list;
  for (std::size_t i = 0; i < tracks.size(); ++i) {
    const std::string language = replace_invalid_utf8(language_of(*tracks[i]));
    list += (i > 0 ? ", " : "") + std::to_string(i + 1) + " (" +
            (language.empty() ? "no language" : language.substr(0, 16)) + ")";
  }
  return list;
}

AVStream* best_of(const std::vector<AVStream*>& tracks) {
  const auto rank = [](const AVStream* track) {
    constexpr int kAside = AV_DISPOSITION_COMMENT | AV_DISPOSITION_VISUAL_IMPAIRED;
    return std::pair((track->disposition & AV_DISPOSITION_DEFAULT) != 0, (track->disposition & kAside) == 0);
  };
  // Of equals the first.
  const auto best = std::max_element(tracks.begin(), tracks.end(),
                                     [&](const AVStream* a, const AVStream* b) { return rank(a) < rank(b); });
  return best == tracks.end() ? nullptr : *best;
}

}  // namespace

bool same_language(std::string_view tag, std::string_view wanted) {
  const std::string a = primary_tag(tag);
  const std::string b = primary_tag(wanted);
  if (a == b) return !a.empty();
  return std::any_of(kCodes.begin(), kCodes.end(), [&](const auto& codes) {
    return std::find(codes.begin(), codes.end(), a) != codes.end() &&
           std::find(codes.begin(), codes.end(), b) != codes.end();
  });
}

std::vector<ParamSpec> track_params() {
  return {
      {.name = "track",
       .type = ParamType::integer,
       .help = "which sound track of a file with several, from 1; left out: the default one",
       .min = 1,
       .max = 1000},
      {.name = "track_language",
       .type = ParamType::text_list,
       .help = "or the track in this language (\"en\", \"deu\"), or the first of several that there is"},
  };
}

TrackChoice track_choice_of(const Params& params) {
  TrackChoice choice;
  if (params.has("track")) choice.number = static_cast<int>(params.integer("track"));
  if (params.has("track_language")) choice.languages = params.text_list("track_language");
  if (choice.number && !choice.languages.empty()) {
    throw ParamError("track_language", "track and track_language are both given; keep one of them");
  }
  return choice;
}

AVStream* choose_track(AVFormatContext& format, const TrackChoice& choice) {
  std::vector<AVStream*> tracks;
  for (unsigned i = 0; i < format.nb_streams; ++i) {
    AVStream* stream = format.streams[i];
    if (stream->codecpar->codec_type == AVMEDIA_TYPE_AUDIO) tracks.push_back(stream);
  }
  if (tracks.empty()) return nullptr;
  if (choice.number) {
    const auto index = static_cast<std::size_t>(*choice.number) - 1;
    if (index < tracks.size()) return tracks[index];
    throw ItemError("audio.no_track", "there is no sound track " + std::to_string(*choice.number) +
                                          ", the file has " + track_list(tracks));
  }
  if (choice.languages.empty()) return best_of(tracks);
  std::vector<AVStream*> matching;
  for (const std::string& language : choice.languages) {
    std::copy_if(tracks.begin(), tracks.end(), std::back_inserter(matching),
                 [&](const AVStream* track) { return same_language(language_of(*track), language); });
    if (!matching.empty()) return best_of(matching);
  }
  std::copy_if(tracks.begin(), tracks.end(), std::back_inserter(matching),
               [](const AVStream* track) { return language_of(*track).empty(); });
  if (!matching.empty()) return best_of(matching);
  throw ItemError("audio.no_track",
                  "no sound track is in the language asked for, the file has " + track_list(tracks));
}

}  // namespace reelfolio::stages
