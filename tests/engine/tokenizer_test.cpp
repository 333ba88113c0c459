#include "engine/tokenizer.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/error.h"
#include "engine/utf8.h"
#include "tests/engine/model_files.h"
#include "tests/support/catch.h"

using namespace reelfolio::engine;
using nlohmann::json;
using reelfolio::test::golden_path;
using reelfolio::test::golden_tokenizer;
using reelfolio::test::model_error;
using reelfolio::test::read_text;

namespace {

using Ids = std::vector<TokenId>;

const json& golden() {
  static const json cases = json::parse(read_text(golden_path("tokenizer") / "tokenizer_cases.json"));
  return cases;
}

Ids encode_trusted(const std::string& text) {
  const std::vector<PromptRun> runs = {{text, true}};
  return golden_tokenizer().encode(runs);
}

std::string stream(const Ids& ids, bool skip_special) {
  Detokenizer detokenizer(golden_tokenizer(), skip_special);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

bool spells_special(const std::string& text) {
  const Ids ids = encode_trusted(text);
  return std::any_of(ids.begin(), ids.end(), [](TokenId id) { return golden_tokenizer().is_special(id); });
}

/// A text of characters from scripts inside and outside the tiny vocabulary, white space,
/// and spellings of control tokens; never U+2581, which decodes to a space.
std::string random_text(std::mt19937& random, std::size_t most_parts) {
  static const std::vector<std::string> kSpellings = {"<|turn>", "<turn|>", "<|image|>", "<mask>",
                                                      "<table>", "</b>",    "<0x41>",    "\n\n\n",
                                                      "    ",    "the ",    "<",         "|>"};
  std::string text;
  const std::size_t parts = random() % (most_parts + 1);
  for (std::size_t i = 0; i < parts; ++i) {
    switch (random() % 6) {
      case 0:
        text += kSpellings[random() % kSpellings.size()];
        break;
      case 1:
        text += static_cast<char>(random() % 128);
        break;
      case 2:
        text += " ";
        break;
      case 3:
        text += static_cast<char>('a' + random() % 26);
        break;
      default: {
        constexpr std::uint32_t kRanges[] = {0x800, 0x10000, 0x110000};
        const std::size_t range = random() % 4;
        auto c = static_cast<char32_t>(range < 3 ? random() % kRanges[range] : 0x4E00 + random() % 64);
        if ((c >= 0xD800 && c < 0xE000) || c == 0x2581) c = U'x';
        text += utf8_text(c);
      }
    }
  }
  return text;
}

}  // namespace

TEST_CASE("tokenizer: ids of every golden case") {
  REQUIRE(golden()["cases"].size() == 144);
  REQUIRE(golden_tokenizer().vocab_size() == golden()["vocab_size"].get<std::size_t>());
  std::size_t untrusted = 0;
  for (const json& item : golden()["cases"]) {
    const auto text = item["text"].get<std::string>();
    INFO("text: " << text);
    // The reference recognises special tokens in every text.
    CHECK(encode_trusted(text) == item["ids"].get<Ids>());
    if (spells_special(text)) continue;
    ++untrusted;
    CHECK(golden_tokenizer().encode(text) == item["ids"].get<Ids>());
  }
  CHECK(untrusted > 120);
}

TEST_CASE("tokenizer: decoded text of every golden case") {
  for (const json& item : golden()["cases"]) {
    const auto ids = item["ids"].get<Ids>();
    INFO("text: " << item["text"]);
    CHECK(golden_tokenizer().decode(ids, false) == item["decoded"].get<std::string>());
    CHECK(golden_tokenizer().decode(ids, true) == item["decoded_skip_special"].get<std::string>());
    CHECK(stream(ids, false) == item["decoded"].get<std::string>());
    CHECK(stream(ids, true) == item["decoded_skip_special"].get<std::string>());
  }
}

TEST_CASE("tokenizer: a prompt that spells <bos> equals the reference's added one") {
  const json& item = golden()["with_bos"];
  CHECK(encode_trusted("<bos>" + item["text"].get<std::string>()) == item["ids"].get<Ids>());
}

TEST_CASE("tokenizer: one-shot decoding of every golden prefix of byte tokens") {
  REQUIRE(golden()["byte_streams"].size() == 7);
  for (const json& item : golden()["byte_streams"]) {
    const auto ids = item["ids"].get<Ids>();
    for (std::size_t n = 1; n <= ids.size(); ++n) {
      INFO(item["label"] << ", prefix of " << n);
      const Ids prefix(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n));
      CHECK(golden_tokenizer().decode(prefix, false) == item["prefix_decodes"][n - 1].get<std::string>());
      CHECK(golden_tokenizer().decode(prefix, true) ==
            item["prefix_decodes_skip_special"][n - 1].get<std::string>());
    }
  }
}

TEST_CASE("detokenizer: golden byte streams, better than one-shot where a stray byte follows a character") {
  for (const json& item : golden()["byte_streams"]) {
    const auto ids = item["ids"].get<Ids>();
    const auto label = item["label"].get<std::string>();
    INFO(label);
    for (const bool skip : {false, true}) {
      const json& decodes = item[skip ? "prefix_decodes_skip_special" : "prefix_decodes"];
      const std::string expected =
          label == "good emoji then stray byte" ? "\U0001F600\uFFFD" : decodes.back().get<std::string>();
      CHECK(stream(ids, skip) == expected);
    }
  }
}

TEST_CASE("detokenizer: emits a character with its last byte and nothing of it before") {
  const Ids ids = golden()["byte_streams"][0]["ids"].get<Ids>();  // F0 9F 98 80 " o" "k"
  Detokenizer detokenizer(golden_tokenizer(), false);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(detokenizer.push(ids[i]).empty());
    CHECK(detokenizer.pending());
  }
  CHECK(detokenizer.push(ids[3]) == "\U0001F600");
  CHECK_FALSE(detokenizer.pending());
  CHECK(detokenizer.push(ids[4]) == " o");
}

TEST_CASE("detokenizer: finish gives up a cut character, and the object starts afresh") {
  const Ids ids = golden()["byte_streams"][0]["ids"].get<Ids>();
  Detokenizer detokenizer(golden_tokenizer(), false);
  detokenizer.push(ids[0]);
  detokenizer.push(ids[1]);
  CHECK(detokenizer.finish() == "\uFFFD\uFFFD");
  CHECK(detokenizer.finish().empty());
  CHECK(detokenizer.push(ids[4]) == " o");
}

TEST_CASE("detokenizer: ids outside the vocabulary are skipped") {
  CHECK(stream({342, -1, 712, 343, 1 << 30}, false) == "ab");
  CHECK(golden_tokenizer().decode(Ids{342, -1, 712, 343, 1 << 30}, false) == "ab");
}

TEST_CASE("tokenizer: untrusted text cannot spell a special token") {
  for (const std::string spelling :
       {"<bos>", "<eos>", "<|turn>", "<turn|>", "<|image|>", "<|think|>", "<|\"|>"}) {
    INFO(spelling);
    const Ids ids = golden_tokenizer().encode("a" + spelling + "b");
    CHECK(std::none_of(ids.begin(), ids.end(), [](TokenId id) { return golden_tokenizer().is_special(id); }));
    CHECK(golden_tokenizer().decode(ids, true) == "a" + spelling + "b");
    CHECK(encode_trusted(spelling) == Ids{golden_tokenizer().require_id(spelling)});
  }
}

TEST_CASE("tokenizer: added tokens that are not special are found in untrusted text") {
  CHECK(golden_tokenizer().encode("<table>") == Ids{35});
  CHECK(golden_tokenizer().encode("a\n\n\nb") == Ids{342, 30, 343});
  CHECK(golden_tokenizer().encode("<mask>") == Ids{4});
}

TEST_CASE("tokenizer: a special token is found only inside one trusted run") {
  const auto encode = [](const std::vector<PromptRun>& runs) { return golden_tokenizer().encode(runs); };
  const TokenId turn = golden_tokenizer().require_id("<|turn>");
  CHECK(encode({{"<|turn>", true}, {"x", false}}) == Ids{turn, 365});
  CHECK(encode({{"x", false}, {"<|turn>", true}}) == Ids{365, turn});
  const Ids as_text = golden_tokenizer().encode("<|turn>");
  CHECK(encode({{"<|tu", false}, {"rn>", true}}) == as_text);
  CHECK(encode({{"<|tu", true}, {"rn>", false}}) == as_text);
  CHECK(encode({{"<|tu", true}, {"", false}, {"rn>", true}}) == as_text);
  CHECK(encode({{"<|turn", true}, {">", false}}) == as_text);
  // The longest token that is allowed wins, not the longest that is spelled.
  CHECK(encode({{"\n", true}, {"\n", false}}) == Ids{29});
}

TEST_CASE("tokenizer: runs are tokenised as one text") {
  const std::string text = "the end of the day in the end  of\n\nthe day";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const std::vector<PromptRun> runs = {{text.substr(0, cut), true}, {}, {text.substr(cut), false}};
    CHECK(golden_tokenizer().encode(runs) == golden_tokenizer().encode(text));
  }
  CHECK(golden_tokenizer().encode(std::vector<PromptRun>{}).empty());
}

TEST_CASE("tokenizer: decode(encode(text)) is text, in one piece and streamed, for random valid text") {
  std::mt19937 random(11);
  for (int i = 0; i < 4000; ++i) {
    const std::string text = random_text(random, 40);
    INFO("round " << i << ": " << text);
    const Ids ids = golden_tokenizer().encode(text);
    REQUIRE(
        std::none_of(ids.begin(), ids.end(), [](TokenId id) { return golden_tokenizer().is_special(id); }));
    REQUIRE(golden_tokenizer().decode(ids, true) == text);
    REQUIRE(stream(ids, true) == text);
    REQUIRE(golden_tokenizer().decode(encode_trusted(text), false) == text);
  }
}

TEST_CASE("detokenizer: pieces are whole characters and at most three bytes are held, for random ids") {
  std::mt19937 random(5);
  for (int i = 0; i < 500; ++i) {
    Detokenizer detokenizer(golden_tokenizer(), false);
    std::size_t pushed = 0;
    std::size_t emitted = 0;
    for (int n = 0; n < 200; ++n) {
      // Byte tokens for the most part, also bytes that begin long characters.
      const auto id = static_cast<TokenId>(random() % 8 == 0 ? random() % 712 : 39 + random() % 256);
      const std::string text = detokenizer.push(id);
      REQUIRE(is_valid_utf8(text));
      pushed += golden_tokenizer().token_bytes(id).size();
      emitted += text.size();
      REQUIRE(emitted + 3 >= pushed);
    }
    REQUIRE(is_valid_utf8(detokenizer.finish()));
  }
}

TEST_CASE("tokenizer: invalid UTF-8 is read as one U+FFFD for each maximal part of a character") {
  const auto same = [](const std::string& broken, const std::string& replaced) {
    CHECK(golden_tokenizer().encode(broken) == golden_tokenizer().encode(replaced));
    CHECK(golden_tokenizer().decode(golden_tokenizer().encode(broken), false) == replaced);
  };
  same("a\xFFz", "a\uFFFDz");
  same("a\x80\x80z", "a\uFFFD\uFFFDz");
  same("\xE2\x82", "\uFFFD");  // a euro sign cut short
  same("\xE2\x82z", "\uFFFDz");
  same("\xF0\x9F\x98z\xF0", "\uFFFDz\uFFFD");
  same("\xC0\xAF", "\uFFFD\uFFFD");                      // an overlong slash
  same("\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD");            // a surrogate
  same("\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD");  // above U+10FFFF
  // Halves in two runs stay two mistakes.
  const std::vector<PromptRun> halves = {{"\xC3", false}, {"\xA9", false}};
  CHECK(golden_tokenizer().decode(golden_tokenizer().encode(halves), false) == "\uFFFD\uFFFD");
}

TEST_CASE("tokenizer: random bytes encode and decode to valid text") {
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(random() % 60, '\0');
    for (char& c : bytes) c = static_cast<char>(random() % 256);
    const Ids ids = golden_tokenizer().encode(bytes);
    const std::string decoded = golden_tokenizer().decode(ids, true);
    REQUIRE(is_valid_utf8(decoded));
    // U+2581 aside, whose three bytes random bytes hardly form.
    REQUIRE(decoded == replace_invalid_utf8(bytes));
  }
}

TEST_CASE("tokenizer: U+2581 comes back as a space, and a literal <0x41> as itself") {
  CHECK(golden_tokenizer().decode(golden_tokenizer().encode("a\u2581b"), false) == "a b");
  CHECK(golden_tokenizer().encode("a\u2581b") == golden_tokenizer().encode("a b"));
  CHECK(golden_tokenizer().decode(golden_tokenizer().encode("<0x41>"), false) == "<0x41>");
  CHECK(golden_tokenizer().encode("<0x41>").size() > 1);
}

TEST_CASE("tokenizer: a megabyte of one letter takes a moment") {
  // Quadratic merging would take minutes here.
  const std::string zeros(1 << 20, '0');
  const Ids ids = golden_tokenizer().encode(zeros);
  CHECK(ids.size() == zeros.size() / 2);
  std::string the;
  while (the.size() < zeros.size()) the += "the";
  CHECK(golden_tokenizer().decode(golden_tokenizer().encode(the), false) == the);
}

TEST_CASE("tokenizer: the scan for short words and the heap for long ones agree") {
  // The same text as one long word and, cut at spaces, as short words.
  std::mt19937 random(17);
  for (int i = 0; i < 300; ++i) {
    std::string word;
    for (int n = 0; n < 400; ++n) word += "ther, in"[random() % 8];
    const Ids whole = golden_tokenizer().encode(word);
    // A newline token is never merged, so pieces between newlines are words of their own.
    std::string cut;
    Ids expected;
    for (std::size_t at = 0; at < word.size(); at += 40) {
      const std::string part = word.substr(at, 40);
      cut += part + "\n";
      for (const TokenId id : golden_tokenizer().encode(part)) expected.push_back(id);
      expected.push_back(28);
    }
    REQUIRE(golden_tokenizer().encode(cut) == expected);
    REQUIRE(golden_tokenizer().decode(whole, false) == word);
  }
}

TEST_CASE("tokenizer: threads share one object") {
  const std::string text =
      "The answer to the question is in the second paragraph of the document \U0001F600.";
  const Ids expected = golden_tokenizer().encode(text);
  std::vector<int> wrong(4, 0);
  {
    std::vector<std::jthread> threads;
    for (int& count : wrong) {
      threads.emplace_back([&] {
        for (int i = 0; i < 200; ++i)
          count += golden_tokenizer().encode(text) != expected ||
                   golden_tokenizer().decode(expected, true) != text;
      });
    }
  }
  CHECK(wrong == std::vector<int>(4, 0));
}

TEST_CASE("tokenizer: both spellings of merges give the same ids") {
  json file = json::parse(read_text(golden_path("tokenizer") / "tokenizer.json"));
  for (json& merge : file["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const Tokenizer strings = Tokenizer::parse(file.dump());
  CHECK(strings.num_merges() == golden_tokenizer().num_merges());
  for (const json& item : golden()["cases"]) {
    const auto text = item["text"].get<std::string>();
    CHECK(strings.encode(text) == golden_tokenizer().encode(text));
  }
}

TEST_CASE("tokenizer: a merge that forms a control token is not followed") {
  json file = json::parse(read_text(golden_path("tokenizer") / "tokenizer.json"));
  // "<b" + "os>" would spell <bos> from pieces of text.
  file["model"]["vocab"]["<b"] = 712;
  file["model"]["vocab"]["os>"] = 713;
  file["model"]["vocab"]["<"] = 714;
  auto& merges = file["model"]["merges"];
  merges.insert(merges.begin(), json::array({"<b", "os>"}));
  merges.insert(merges.begin(), json::array({"os", ">"}));
  merges.insert(merges.begin(), json::array({"<", "b"}));
  const Tokenizer tokenizer = Tokenizer::parse(file.dump());
  const Ids ids = tokenizer.encode("<bos>");
  CHECK(std::find(ids.begin(), ids.end(), 712) != ids.end());
  CHECK(std::none_of(ids.begin(), ids.end(), [&](TokenId id) { return tokenizer.is_special(id); }));
}

TEST_CASE("tokenizer: corrupt and foreign files are refused by name") {
  const json good = json::parse(read_text(golden_path("tokenizer") / "tokenizer.json"));
  const auto error_with = [&](const std::function<void(json&)>& change) {
    json file = good;
    change(file);
    return model_error([&] { Tokenizer::parse(file.dump()); });
  };
  CHECK(error_with([](json&) {}).empty());
  CHECK(model_error([] { Tokenizer::parse("{\"model\":"); }).find("tokenizer.json: not valid JSON") == 0);
  CHECK(model_error([] { Tokenizer::load("/nonexistent"); }) == "tokenizer.json: not found in /nonexistent");
  CHECK(error_with([](json& f) { f["model"].erase("merges"); }) ==
        "tokenizer.json: key 'model.merges' is missing");
  CHECK(error_with([](json& f) { f["model"]["type"] = "Unigram"; }) ==
        "tokenizer.json: key 'model.type' is \"Unigram\", expected \"BPE\"");
  CHECK(error_with([](json& f) { f["model"]["ignore_merges"] = true; }) ==
        "tokenizer.json: key 'model.ignore_merges' is not false");
  CHECK(error_with([](json& f) { f["model"].erase("byte_fallback"); }) ==
        "tokenizer.json: key 'model.byte_fallback' is not true");
  CHECK(error_with([](json& f) {
          f["normalizer"] = {{"type", "NFKC"}};
        }) == "tokenizer.json: key 'normalizer.type' is \"NFKC\", expected \"Replace\"");
  CHECK(error_with([](json& f) { f["added_tokens"][0]["lstrip"] = true; }) ==
        "tokenizer.json: key 'added_tokens[0].lstrip' is not false");
  CHECK(error_with([](json& f) { f["added_tokens"][0]["id"] = 1; }) ==
        "tokenizer.json: piece '<pad>' is an added token with id 1, which contradicts the vocabulary");
  CHECK(error_with([](json& f) { f["model"]["vocab"]["a"] = 5; }).find("piece '") != std::string::npos);
  CHECK(error_with([](json& f) { f["model"]["vocab"]["a"] = -5; }).find("piece 'a' has an id") !=
        std::string::npos);
  CHECK(error_with([](json& f) { f["model"]["vocab"].erase("<0x41>"); }) ==
        "tokenizer.json: piece '<0x41>' is missing");
  CHECK(error_with([](json& f) {
          f["model"]["merges"][3] = {"a", "zzz"};
        }) == "tokenizer.json: key 'model.merges[3]' names 'zzz', which is not in the vocabulary");
  CHECK(error_with([](json& f) {
          f["model"]["merges"][3] = {"z", "z"};
        }) == "tokenizer.json: key 'model.merges[3]' names 'zz', which is not in the vocabulary");
  for (const json& merge :
       {json("a"), json("a b c"), json::array({"a"}), json::array({"a", "b", "c"}), json(7)}) {
    CHECK(error_with([&](json& f) { f["model"]["merges"][0] = merge; }) ==
          "tokenizer.json: key 'model.merges[0]' is no pair of pieces");
  }
}

TEST_CASE("tokenizer: look-ups by id and by piece") {
  CHECK(golden_tokenizer().id("<bos>") == TokenId{2});
  CHECK_FALSE(golden_tokenizer().id("no such piece").has_value());
  CHECK(golden_tokenizer().piece(547) == "\u2581the");
  CHECK(golden_tokenizer().token_bytes(547) == " the");
  CHECK(golden_tokenizer().token_bytes(104) == "A");
  CHECK(golden_tokenizer().is_byte(104));
  CHECK_FALSE(golden_tokenizer().is_byte(547));
  CHECK(golden_tokenizer().piece(-1).empty());
  CHECK(golden_tokenizer().piece(712).empty());
  CHECK_FALSE(golden_tokenizer().is_special(712));
  CHECK(golden_tokenizer().num_merges() == 172);
  CHECK(golden_tokenizer().num_added_tokens() == 39);
  CHECK(golden_tokenizer().num_special_tokens() == 23);
  CHECK(model_error([] { golden_tokenizer().require_id("<gone>"); }) ==
        "tokenizer.json: piece '<gone>' is missing");
}
