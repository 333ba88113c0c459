#include <algorithm>
#include <cmath>

#include "engine/utf8.h"
#include "stages/text/encoding.h"
#include "stages/text/html_text.h"
#include "stages/text/plain_text.h"
#include "stages/text/read_text.h"
#include "stages/text/subtitles.h"
#include "stages/text/text_parts.h"
#include "tests/stages/media_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::stages;

namespace {

std::string joined(const TextLines& lines) {
  std::string text;
  for (const TextLine& line : lines) text += line.text + "\n";
  return text;
}

std::string html_text(const std::string& html) {
  return joined(html_lines(html, {}));
}

/// A token for each four bytes, so that tests can count.
std::size_t quarter_tokens(std::string_view text) {
  return (text.size() + 3) / 4;
}

std::vector<TextPart> parts_of(const TextLines& lines, std::size_t max_tokens) {
  std::vector<TextPart> parts;
  divide_text(lines, max_tokens, quarter_tokens, [&](TextPart part) {
    parts.push_back(std::move(part));
    return true;
  });
  return parts;
}

Collector read(const std::string& bytes, const std::vector<std::pair<std::string, ParamValue>>& params = {}) {
  const MediaFolder folder;
  return run_stage(read_text_type(), folder.write("input.txt", bytes), params);
}

std::string utf16(std::u16string_view text, bool big_endian) {
  std::string bytes;
  for (const char16_t unit : text) {
    const char low = static_cast<char>(unit & 0xFFU);
    const char high = static_cast<char>(unit >> 8U);
    bytes += big_endian ? high : low;
    bytes += big_endian ? low : high;
  }
  return bytes;
}

}  // namespace

TEST_CASE("encoding: marks, UTF-8, UTF-16 with and without a mark, and Windows-1252 are told apart") {
  const auto check = [](const std::string& bytes, const std::string& text, const std::string& encoding) {
    CAPTURE(encoding);
    const DecodedText decoded = decode_text(bytes);
    CHECK(decoded.text == text);
    CHECK(decoded.encoding == encoding);
  };
  const std::u16string_view sample = u"Gr\u00FC\u00DFe \U0001F600\r\n";
  const std::string expected = "Gr\u00FC\u00DFe \U0001F600\r\n";
  check("\xEF\xBB\xBF" + expected, expected, "UTF-8");
  check(expected, expected, "UTF-8");
  check("\xFF\xFE" + utf16(sample, false), expected, "UTF-16LE");
  check("\xFE\xFF" + utf16(sample, true), expected, "UTF-16BE");
  check(utf16(u"plain words", false), "plain words", "UTF-16LE");
  check(utf16(u"plain words", true), "plain words", "UTF-16BE");
  check(std::string("\xFF\xFE\0\0a\0\0\0", 8), "a", "UTF-32LE");
  check(
      "Gr\xFC\xDF"
      "e \x80 5 \x93quoted\x94",
      "Gr\u00FC\u00DFe \u20AC 5 \u201Cquoted\u201D", "WINDOWS-1252");
}

TEST_CASE("encoding: a file that is UTF-8 but for a damaged place stays UTF-8") {
  const DecodedText decoded = decode_text("\u00E4\u00F6\u00FC\u00DF and \u20AC cut \xE2\x82");
  CHECK(decoded.encoding == "UTF-8");
  CHECK(decoded.text == "\u00E4\u00F6\u00FC\u00DF and \u20AC cut \uFFFD");
}

TEST_CASE("encoding: a page's own declaration is believed where it can be true") {
  CHECK(decode_text("<html><meta charset=\"koi8-r\"><p>\xF0\xD2\xC9").text.ends_with("\u041F\u0440\u0438"));
  CHECK(decode_text("<?xml version='1.0' encoding='ISO-8859-2'?>\xB3").text.ends_with("\u0142"));
  CHECK(decode_text("<html><meta charset=utf-8><p>\xE9").text.ends_with("\u00E9"));
  CHECK(decode_text("<html><meta charset=nonsense><p>\xE9").text.ends_with("\u00E9"));
}

TEST_CASE("encoding: a name given is taken, what is invalid in it becomes U+FFFD") {
  CHECK(decode_text("\x83\x65\x83\x58\x83\x67", "SHIFT_JIS").text == "\u30C6\u30B9\u30C8");
  CHECK(decode_text(std::string("a\0\x3D\xD8"
                                "b\0",
                                6),
                    "UTF-16LE")
            .text.starts_with("a\uFFFD"));
  CHECK(is_known_encoding("ISO-8859-15"));
  CHECK_FALSE(is_known_encoding("no-such-encoding"));
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  for (const char* name : {"auto", "UTF-8", "UTF-16LE", "UTF-16BE", "UTF-32LE", "GB18030", "EUC-KR"}) {
    CAPTURE(name);
    CHECK(engine::is_valid_utf8(decode_text(all + all, name).text));
  }
}

TEST_CASE("plain text: every kind of line end counts, control characters go") {
  const TextLines lines = plain_lines("a\r\nb\rc\n\n\x1B[1md \t\x07\n", false);
  REQUIRE(lines.size() == 5);
  CHECK(joined(lines) == "a\nb\nc\n\n[1md\n");
  CHECK(lines[4].line == 5);
}

TEST_CASE("plain text: of many empty lines two are kept, and lines keep their numbers") {
  const TextLines lines = plain_lines("a\n\n\n\n\n\nb\n", false);
  CHECK(joined(lines) == "a\n\n\nb\n");
  CHECK(lines.back().line == 7);
}

TEST_CASE("plain text: headings of Markdown, but not inside code") {
  const TextLines lines =
      plain_lines("# One\ntext\n\nTwo\n---\n\n```\n# no heading\n```\n#hash\n    # code\n", true);
  std::vector<int> headings;
  for (const TextLine& line : lines) headings.push_back(line.heading);
  CHECK(headings == std::vector<int>{1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0});
  for (const TextLine& line : plain_lines("# One\n", false)) CHECK(line.heading == 0);
}

TEST_CASE("html: what a page shows, structure kept, the rest left out") {
  const std::string html = R"(<!DOCTYPE html><html><head><title>Bill</title>
<style>p {color: red}</style><script>var a = "<p>no</p>";</script></head><body>
<h1>Invoice &amp; more</h1><p>One
   line,<br>two lines.</p>
<ul><li>first</li><li>second</li></ul>
<table><tr><th>Item</th><th>Price</th></tr><tr><td>Lamp</td><td>4&euro;</td></tr></table>
<pre>  kept
   as is</pre><p hidden>secret</p><img src="x.png" alt="a boat"><img src="y.png"></body></html>)";
  CHECK(html_text(html) ==
        "Bill\n\n# Invoice & more\n\nOne line,\ntwo lines.\n\n- first\n- second\n\nItem | Price\n"
        "Lamp | 4\u20AC\n\n  kept\n   as is\n\n[a boat]\n");
  const TextLines lines = html_lines(html, {});
  CHECK(lines[2].heading == 1);
  CHECK(lines[2].line == 3);
}

TEST_CASE("html: rows stay lines and items keep their marks, whatever they hold") {
  CHECK(html_text("<table><tr><td><p>a</p><p>b</p></td><td>c<br>d</td><td><table><tr><td>e</table></td></tr>"
                  "<tr><td>f</td></tr></table>g") == "a b | c d | e\nf\n\ng\n");
  CHECK(html_text("<ul><li><p>one</p></li><li>two<ul><li>three</li></ul></li></ul><p>four</p>") ==
        "- one\n- two\n  - three\n\nfour\n");
}

TEST_CASE("html: is told by its first tag") {
  CHECK(is_html("<!DOCTYPE HTML>\n<p>"));
  CHECK(is_html("\n<!-- a comment -->\n<html lang=en>"));
  CHECK(is_html("<?xml version=\"1.0\"?><html xmlns='x'>"));
  CHECK_FALSE(is_html("plain < text"));
  CHECK_FALSE(is_html("# Title\n<html>"));
  CHECK_FALSE(is_html("<!-- never closed"));
}

TEST_CASE("html: hostile pages end, with text or an error") {
  std::string deep;
  for (int i = 0; i < 200'000; ++i) deep += "<div>";
  CHECK(error_code([&] { html_text(deep + "x"); }) == "text.too_deep");
  std::string closing = "<p>a";
  for (int i = 0; i < 100'000; ++i) closing += "</b></i></x>";
  CHECK(html_text(closing) == "a\n");
  CHECK(html_text(std::string(3'000'000, 'x')).size() == 3'000'001);
  CHECK(html_text("<p " + std::string(1'000'000, 'a') + "='" + std::string(1'000'000, 'b')).size() <
        2'100'000);
  CHECK(html_text("<!--" + std::string(1'000'000, '-')).empty());
  CHECK(html_text("&" + std::string(100'000, '#') + "&#xFFFFFFFF;&#0;<p>ok").find("ok") != std::string::npos);
  std::string cells;
  for (int i = 0; i < 50'000; ++i) cells += "<td>";
  html_text("<table><tr>" + cells);
  Sequence random(3);
  const std::string alphabet = "<>/='\"&;!-ptdlirhb \n";
  for (int round = 0; round < 300; ++round) {
    std::string html = "<html>";
    for (int i = 0; i < 400; ++i) html += alphabet[random.next(static_cast<std::uint32_t>(alphabet.size()))];
    for (const TextLine& line : html_lines(html, {})) CHECK(engine::is_valid_utf8(line.text));
  }
}

TEST_CASE("html: reading ends when the run stops") {
  std::string html = "<p>";
  for (int i = 0; i < 100'000; ++i) html += "<b>x</b>";
  CHECK_THROWS_AS(html_lines(html, [] { return true; }), Cancelled);
}

TEST_CASE("subtitles: cues of WebVTT, with speakers, without notes and markup") {
  const TextLines lines = subtitle_lines(
      "WEBVTT\n\nNOTE not\nthis\n\nSTYLE\n::cue {}\n\nintro\n00:01.500 --> 00:04.000 line:0\n<v Ann>Hello "
      "<i>there</i>\nyou "
      "&amp; me\n\n01:00:10.000 --> 01:00:12.000\n- Late\n");
  REQUIRE(lines.size() == 3);
  CHECK(joined(lines) == "[0:00:01] Ann: Hello there you & me\n\n[1:00:10] - Late\n");
  CHECK(*lines[0].start_s == Approx(1.5));
  CHECK(*lines[0].end_s == Approx(4));
  CHECK(lines[0].line == 10);
  CHECK(*lines[2].start_s == Approx(3610));
}

TEST_CASE("subtitles: cues of SubRip, numbers and empty lines inside them too") {
  const std::string srt =
      "1\r\n00:00:01,000 --> 00:00:02,000\r\n{\\an8}42\r\n\r\nmore\r\n\r\n2\r\n00:00:02,500 --> "
      "00:00:03,000\r\n<b>Two</b> a < b\r\n";
  CHECK(is_subtitles(srt));
  CHECK(joined(subtitle_lines(srt)) == "[0:00:01] 42 more\n[0:00:02] Two a < b\n");
  CHECK_FALSE(is_subtitles("1\n2\n3\n"));
  CHECK_FALSE(is_subtitles("At 00:01 --> we left\n"));
  CHECK_FALSE(is_subtitles("00:99999999999999.000 --> 1"));
}

TEST_CASE("text parts: fit the budget, are cut at the best place, and lose nothing") {
  std::string text = "# First\n\n";
  for (int i = 0; i < 20; ++i) text += "A sentence of the first part. Another one.\n\n";
  text += "# Second\n\n";
  for (int i = 0; i < 20; ++i) text += "A sentence of the second part.\nIn two lines.\n\n";
  const TextLines lines = plain_lines(text, true);
  for (const std::size_t budget : {16U, 40U, 100U, 300U, 10'000U}) {
    CAPTURE(budget);
    const std::vector<TextPart> parts = parts_of(lines, budget);
    std::string words;
    int last = 0;
    for (const TextPart& part : parts) {
      CHECK(quarter_tokens(part.text) <= budget);
      CHECK_FALSE(part.text.starts_with('\n'));
      CHECK_FALSE(part.text.ends_with('\n'));
      CHECK(part.first_line >= last);
      last = part.last_line;
      words += part.text;
    }
    const auto is_space = [](char c) { return c == ' ' || c == '\n'; };
    std::string expected = text;
    std::erase_if(expected, is_space);
    std::erase_if(words, is_space);
    CHECK(words == expected);
  }
  // 220 tokens in front of the second heading: that is where 300 are cut.
  const std::vector<TextPart> parts = parts_of(lines, 300);
  CHECK(parts.at(1).text.starts_with("# Second"));
  CHECK(parts.at(1).first_line == 43);
  CHECK(parts_of(lines, 10'000).size() == 1);
}

TEST_CASE("text parts: a line that is too long is cut at sentences, else at words, else anywhere") {
  const auto first = [](const std::string& line, std::size_t budget) {
    return parts_of({{.text = line, .line = 1}}, budget).at(0).text;
  };
  std::string sentences;
  std::string words;
  for (int i = 0; i < 100; ++i) {
    sentences += "This is one. ";
    words += "word ";
  }
  CHECK(first(sentences, 20).ends_with("one. "));
  CHECK(first(words, 20).ends_with("word "));
  CHECK(first(std::string(1000, 'x'), 20).size() <= 80);
  std::string umlauts;
  for (int i = 0; i < 500; ++i) umlauts += "\u00E4";
  for (const TextPart& part : parts_of({{.text = umlauts, .line = 1}}, 17)) {
    CHECK(engine::is_valid_utf8(part.text));
  }
}

TEST_CASE("read_text: units have lines, subtitles times") {
  const Collector plain = read("one\n\ntwo\n");
  REQUIRE(plain.items.size() == 1);
  const Unit& unit = *plain.items[0].unit;
  CHECK(unit.kind == UnitKind::text);
  CHECK(unit.text == "one\n\ntwo");
  CHECK(unit.first_line == 1);
  CHECK(unit.last_line == 3);
  CHECK_FALSE(unit.timed);
  CHECK(plain.items[0].pictures.empty());

  const Collector film = read("WEBVTT\n\n00:01.000 --> 00:02.000\na\n\n00:03.000 --> 00:09.000\nb\n");
  CHECK(film.items.at(0).unit->timed);
  CHECK(film.items.at(0).unit->start_s == Approx(1));
  CHECK(film.items.at(0).unit->end_s == Approx(9));
  CHECK(read("<html><p>a", {{"format", std::string("plain")}}).items.at(0).unit->text == "<html><p>a");
  CHECK(read("a <b>c", {{"format", std::string("html")}}).items.at(0).unit->text == "a c");
}

TEST_CASE("read_text: the default budget holds and parts beyond max_parts are reported") {
  std::string text;
  for (int i = 0; i < 4000; ++i) text += "A sentence among many others.\n";
  const Collector all = read(text);
  CHECK(all.items.size() > 5);
  for (const Item& item : all.items) CHECK(estimated_tokens(*item.unit->text) <= 4096);
  const Collector some = read(text, {{"max_parts", std::int64_t{2}}});
  CHECK(some.items.size() == 2);
  REQUIRE(some.errors.size() == 1);
  CHECK(some.errors[0].first == "text.part_limit");
}

TEST_CASE("read_text: hostile files give parts or an error, never more than the budget") {
  CHECK(error_code([] { read(" \n\t\r\n"); }) == "text.empty");
  CHECK(error_code([] { read("<html><script>x</script>"); }) == "text.empty");
  CHECK(error_code([] {
          read(std::string(2000, 'a'), {{"max_bytes", std::int64_t{1999}}});
        }) == "text.too_large");
  const Collector huge = read(std::string(2'000'000, 'a'), {{"part_tokens", std::int64_t{16384}}});
  std::size_t bytes = 0;
  for (const Item& item : huge.items) bytes += item.unit->text->size();
  CHECK(bytes == 2'000'000);
  std::string newlines(1'000'000, '\n');
  CHECK(read(newlines + "x" + newlines).items.size() == 1);
  Sequence random(11);
  for (int round = 0; round < 20; ++round) {
    std::string noise = "x";
    for (int i = 0; i < 3000; ++i) noise += static_cast<char>(random.next(256));
    for (const Item& item : read(noise, {{"part_tokens", std::int64_t{64}}}).items) {
      CHECK(engine::is_valid_utf8(*item.unit->text));
      CHECK(estimated_tokens(*item.unit->text) <= 64);
    }
  }
}

TEST_CASE("read_text: an encoding that nobody knows is refused when the graph is built") {
  CHECK_THROWS_AS(read("x", {{"encoding", std::string("klingon")}}), ParamError);
}
