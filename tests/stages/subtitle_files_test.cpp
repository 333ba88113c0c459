#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}

#include "stages/subtitle_cues.h"
#include "tests/stages/media_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::stages;

namespace {

struct ReadCue {
  double start_s;
  double end_s;
  std::string text;  ///< lines joined by "\n"
};

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

/// The cues of a subtitle file as FFmpeg, which plays most of them, reads it.
std::vector<ReadCue> read_with_ffmpeg(const std::filesystem::path& path, AVCodecID expected) {
  AVFormatContext* opened = nullptr;
  REQUIRE(avformat_open_input(&opened, path.c_str(), nullptr, nullptr) == 0);
  const std::unique_ptr<AVFormatContext, void (*)(AVFormatContext*)> format(
      opened, [](AVFormatContext* each) { avformat_close_input(&each); });
  REQUIRE(format->nb_streams == 1);
  const AVCodecParameters& parameters = *format->streams[0]->codecpar;
  REQUIRE(parameters.codec_id == expected);
  const std::unique_ptr<AVCodecContext, void (*)(AVCodecContext*)> decoder(
      avcodec_alloc_context3(avcodec_find_decoder(expected)),
      [](AVCodecContext* each) { avcodec_free_context(&each); });
  REQUIRE(avcodec_parameters_to_context(decoder.get(), &parameters) >= 0);
  decoder->pkt_timebase = format->streams[0]->time_base;
  REQUIRE(avcodec_open2(decoder.get(), nullptr, nullptr) == 0);
  const double unit_s = av_q2d(format->streams[0]->time_base);
  std::vector<ReadCue> cues;
  const std::unique_ptr<AVPacket, void (*)(AVPacket*)> packet(av_packet_alloc(),
                                                              [](AVPacket* each) { av_packet_free(&each); });
  while (av_read_frame(format.get(), packet.get()) == 0) {
    AVSubtitle subtitle{};
    int got = 0;
    REQUIRE(avcodec_decode_subtitle2(decoder.get(), &subtitle, &got, packet.get()) >= 0);
    REQUIRE(got == 1);
    REQUIRE(subtitle.num_rects == 1);
    // "number,layer,style,name,left,right,vertical,effect,text": the text is behind the eighth comma.
    std::string text = subtitle.rects[0]->ass;
    for (int comma = 0; comma < 8; ++comma) text.erase(0, text.find(',') + 1);
    replace_all(text, "\\N", "\n");
    cues.push_back({static_cast<double>(packet->pts) * unit_s,
                    static_cast<double>(packet->pts + packet->duration) * unit_s, text});
    avsubtitle_free(&subtitle);
    av_packet_unref(packet.get());
  }
  return cues;
}

std::vector<Speech> hours_of_talk() {
  std::vector<Speech> speech;
  Sequence random(9);
  double at_s = 0.5;
  for (int i = 0; i < 150; ++i) {
    Speech part{at_s, at_s + 1 + random.next(2500) / 100.0, ""};
    at_s = part.end_s + random.next(9000) / 100.0;
    for (std::uint32_t word = 1 + random.next(50); word > 0; --word) {
      const char* const words[] = {"the", "R&D",   "a<b",  "über",      "\"so\"",
                                   "3.5", "x-->y", "日本", "conductor", "l'été"};
      part.text += words[random.next(10)];
      part.text += random.next(6) == 0 ? ". " : " ";
    }
    speech.push_back(part);
  }
  return speech;
}

}  // namespace

TEST_CASE("subtitle files: FFmpeg reads back the same cues, times and lines from both formats") {
  const MediaFolder folder;
  const std::vector<Cue> cues = subtitle_cues(hours_of_talk());
  REQUIRE(cues.size() > 200);
  REQUIRE(cues.back().end_s > 3600);
  for (const auto& [format, codec] : {std::pair(SubtitleFormat::srt, AV_CODEC_ID_SUBRIP),
                                      std::pair(SubtitleFormat::vtt, AV_CODEC_ID_WEBVTT)}) {
    CAPTURE(std::string(subtitle_format_name(format)));
    const auto path =
        folder.write("talk." + std::string(subtitle_format_name(format)), subtitle_text(cues, format));
    const std::vector<ReadCue> read = read_with_ffmpeg(path, codec);
    REQUIRE(read.size() == cues.size());
    for (std::size_t i = 0; i < cues.size(); ++i) {
      CAPTURE(i);
      CHECK(std::abs(read[i].start_s - cues[i].start_s) <= 0.001);
      CHECK(std::abs(read[i].end_s - cues[i].end_s) <= 0.0021);
      std::string lines = cues[i].lines.front();
      for (std::size_t line = 1; line < cues[i].lines.size(); ++line) lines += "\n" + cues[i].lines[line];
      replace_all(lines, "-->", "→");
      CHECK(read[i].text == lines);
    }
  }
}
