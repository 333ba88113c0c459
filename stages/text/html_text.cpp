#include "stages/text/html_text.h"

#include <libxml/HTMLparser.h>
#include <libxml/parserInternals.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <climits>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <span>

#include "stages/error.h"
#include "stages/stage.h"
#include "stages/utf8.h"

namespace reelfolio::stages {

namespace {

/// Elements that browsers nest at most; libxml2 walks through the open ones at each end tag.
constexpr int kMaxDepth = 500;
constexpr int kEventsPerCheck = 4096;

constexpr std::array<std::string_view, 29> kBlocks = {
    "address", "article",  "aside",  "blockquote", "body", "caption", "dd",      "details", "div",  "dl",
    "dt",      "fieldset", "figure", "footer",     "form", "h1",      "h2",      "h3",      "h4",   "h5",
    "h6",      "header",   "hr",     "main",       "nav",  "p",       "section", "table",   "title"};
constexpr std::array<std::string_view, 7> kHidden = {"script",   "style",  "template", "noscript",
                                                     "textarea", "select", "svg"};

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

bool is_html_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

int heading_level(std::string_view name) {
  return name.size() == 2 && name[0] == 'h' && name[1] >= '1' && name[1] <= '6' ? name[1] - '0' : 0;
}

/// Receives the parser's events.
class HtmlReader {
 public:
  HtmlReader(htmlParserCtxtPtr context, const std::function<bool()>& stopped)
      : context_(context), stopped_(stopped) {}

  void start(std::string_view name, const xmlChar** attributes) {
    if (++depth_ > kMaxDepth) {
      too_deep_ = true;
      xmlStopParser(context_);
      return;
    }
    if (hidden_from_ == 0 && (is_one_of(kHidden, name) || attribute(attributes, "hidden") != nullptr)) {
      hidden_from_ = depth_;
    }
    if (hidden_from_ != 0) return;
    if (name == "td" || name == "th") {
      // A table within a cell is read as words.
      if (cells_ > 0) {
        space_ = true;
      } else if (!row_begins_) {
        add(" | ");
      }
      row_begins_ = false;
      ++cells_;
    } else if (name == "img") {
      const char* text = attribute(attributes, "alt");
      if (text != nullptr && *text != '\0') folded("[" + std::string(text) + "]");
    } else if (cells_ > 0) {
      // A row stays one line, whatever its cells are made of.
      if (is_block(name) || name == "br") space_ = true;
    } else if (name == "pre") {
      end_paragraph();
      ++pre_;
    } else if (name == "br") {
      end_line();
    } else if (name == "ul" || name == "ol") {
      end_before_list();
      ++lists_;
    } else if (name == "li") {
      end_line();
      add(std::string(2 * static_cast<std::size_t>(std::max(0, lists_ - 1)), ' ') + "- ");
    } else if (name == "tr") {
      end_line();
      row_begins_ = true;
    } else if (is_one_of(kBlocks, name)) {
      if (line_.ends_with("- ") && line_.find_first_not_of("- ") == std::string::npos) return;  // <li><p>
      end_paragraph();
      heading_ = heading_level(name);
      if (heading_ != 0) add(std::string(static_cast<std::size_t>(heading_), '#') + " ");
    }
  }

  void end(std::string_view name) {
    if (hidden_from_ != 0) {
      if (depth_ == hidden_from_) hidden_from_ = 0;
    } else if (name == "td" || name == "th") {
      cells_ = std::max(0, cells_ - 1);
      space_ = false;
    } else if (cells_ > 0) {
      if (is_block(name)) space_ = true;
    } else if (name == "pre") {
      end_paragraph();
      pre_ = std::max(0, pre_ - 1);
    } else if (name == "ul" || name == "ol") {
      lists_ = std::max(0, lists_ - 1);
      end_before_list();
    } else if (name == "li" || name == "tr" || (lists_ > 0 && name == "p")) {
      end_line();
    } else if (is_one_of(kBlocks, name)) {
      end_paragraph();
      heading_ = 0;
    }
    --depth_;
  }

  void text(std::string_view text) {
    if (hidden_from_ != 0) return;
    if (pre_ == 0) return folded(text);
    for (const char c : text) {
      if (c == '\n') {
        end_line(/*keep_empty=*/true);
      } else if (c != '\r') {
        add({&c, 1});
      }
    }
  }

  /// Asks now and then whether to go on.
  void event() {
    if (++events_ % kEventsPerCheck != 0 || !stopped_ || !stopped_()) return;
    cancelled_ = true;
    xmlStopParser(context_);
  }

  TextLines finish() {
    if (cancelled_) throw Cancelled{};
    if (too_deep_) {
      throw ItemError("text.too_deep",
                      "elements are nested deeper than " + std::to_string(kMaxDepth) + " levels");
    }
    end_paragraph();
    while (!lines_.empty() && lines_.back().text.empty()) lines_.pop_back();
    return std::move(lines_);
  }

 private:
  static bool is_block(std::string_view name) {
    return is_one_of(kBlocks, name) || name == "pre" || name == "ul" || name == "ol" || name == "li" ||
           name == "tr";
  }

  static const char* attribute(const xmlChar** attributes, const char* name) {
    for (; attributes != nullptr && *attributes != nullptr; attributes += 2) {
      if (std::strcmp(reinterpret_cast<const char*>(attributes[0]), name) == 0) {
        return attributes[1] == nullptr ? "" : reinterpret_cast<const char*>(attributes[1]);
      }
    }
    return nullptr;
  }

  void add(std::string_view text) {
    if (line_.empty()) line_number_ = std::max(1, xmlSAX2GetLineNumber(context_));
    line_ += text;
  }

  /// Appends with white space folded to one space, none at the start of a line.
  void folded(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
      if (is_html_space(text[i])) {
        space_ = true;
        ++i;
        continue;
      }
      std::size_t end = i;
      while (end < text.size() && !is_html_space(text[end])) ++end;
      if (space_ && !line_.empty() && line_.back() != ' ') add(" ");
      space_ = false;
      add(text.substr(i, end - i));
      i = end;
    }
  }

  void end_line(bool keep_empty = false) {
    space_ = false;
    while (!line_.empty() && is_html_space(line_.back())) line_.pop_back();
    // A heading or item that holds nothing.
    if (line_.find_first_not_of("#-|[ ") == std::string::npos && !keep_empty) line_.clear();
    if (!line_.empty() || keep_empty) {
      // The parser passes on what it is given, and what it is given it may cut in pieces.
      lines_.push_back({.text = replace_invalid_utf8(line_),
                        .line = line_.empty() ? std::max(1, xmlSAX2GetLineNumber(context_)) : line_number_,
                        .heading = heading_,
                        .code = pre_ > 0});
    }
    line_.clear();
  }

  /// A list within another is no paragraph of its own.
  void end_before_list() {
    if (lists_ > 0) return end_line();
    end_paragraph();
  }

  void end_paragraph() {
    end_line();
    if (!lines_.empty() && !lines_.back().text.empty()) {
      lines_.push_back({.text = "", .line = lines_.back().line});
    }
  }

  htmlParserCtxtPtr context_;
  const std::function<bool()>& stopped_;
  TextLines lines_;
  std::string line_;
  int line_number_ = 1;
  int depth_ = 0;
  int hidden_from_ = 0;  ///< depth of the element whose contents are not shown; 0: none
  int pre_ = 0;
  int lists_ = 0;
  int cells_ = 0;
  int heading_ = 0;
  bool row_begins_ = false;
  bool space_ = false;  ///< white space waits for what follows it
  bool too_deep_ = false;
  bool cancelled_ = false;
  std::uint64_t events_ = 0;
};

std::string_view view(const xmlChar* text) {
  return reinterpret_cast<const char*>(text);
}

extern "C" {
void on_start(void* reader, const xmlChar* name, const xmlChar** attributes) {
  static_cast<HtmlReader*>(reader)->event();
  static_cast<HtmlReader*>(reader)->start(view(name), attributes);
}
void on_end(void* reader, const xmlChar* name) {
  static_cast<HtmlReader*>(reader)->event();
  static_cast<HtmlReader*>(reader)->end(view(name));
}
void on_text(void* reader, const xmlChar* text, int length) {
  static_cast<HtmlReader*>(reader)->event();
  static_cast<HtmlReader*>(reader)->text(
      {reinterpret_cast<const char*>(text), static_cast<std::size_t>(length)});
}
}

struct ContextFreer {
  void operator()(htmlParserCtxtPtr context) const { htmlFreeParserCtxt(context); }
};

}  // namespace

bool is_html(std::string_view text) {
  constexpr std::array<std::string_view, 4> kFirstTags = {"<!doctype html", "<html", "<head", "<body"};
  const auto starts_with_tag = [&](std::string_view tag) {
    return text.size() > tag.size() &&
           std::ranges::equal(text.substr(0, tag.size()), tag, [](char a, char b) {
             return std::tolower(static_cast<unsigned char>(a)) == b;
           });
  };
  // Comments and an XML declaration may stand in front.
  for (int skipped = 0; skipped < 16; ++skipped) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos) return false;
    text.remove_prefix(begin);
    const std::string_view closing = text.starts_with("<!--") ? "-->" : text.starts_with("<?xml") ? "?>" : "";
    if (closing.empty()) break;
    const std::size_t end = text.find(closing);
    if (end == std::string_view::npos) return false;
    text.remove_prefix(end + closing.size());
  }
  return std::ranges::any_of(kFirstTags, starts_with_tag);
}

TextLines html_lines(std::string_view html, const std::function<bool()>& stopped) {
  static std::once_flag ready;
  std::call_once(ready, [] { xmlInitParser(); });
  if (html.empty()) return {};
  if (html.size() > INT_MAX) throw ItemError("text.too_large", "is larger than 2 GiB");
  const std::unique_ptr<htmlParserCtxt, ContextFreer> context(
      htmlCreateMemoryParserCtxt(html.data(), static_cast<int>(html.size())));
  if (!context) throw std::bad_alloc();
  htmlCtxtUseOptions(context.get(),
                     HTML_PARSE_NONET | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_IGNORE_ENC);
  // The text is UTF-8 by now, whatever it says of itself.
  xmlSwitchEncoding(context.get(), XML_CHAR_ENCODING_UTF8);
  HtmlReader reader(context.get(), stopped);
  *context->sax = htmlSAXHandler{};
  context->sax->startElement = on_start;
  context->sax->endElement = on_end;
  context->sax->characters = on_text;
  context->sax->ignorableWhitespace = on_text;
  context->sax->cdataBlock = on_text;
  context->userData = &reader;
  htmlParseDocument(context.get());
  // No tree is built without the default handlers; a document that is there all the same is ours.
  if (context->myDoc != nullptr) xmlFreeDoc(context->myDoc);
  context->myDoc = nullptr;
  return reader.finish();
}

}  // namespace reelfolio::stages
