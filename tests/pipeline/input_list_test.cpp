#include "pipeline/input_list.h"

#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "tests/support/catch.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio::pipeline;
namespace fs = std::filesystem;

namespace {

/// A folder that is current while it lives, so that listed names are short.
class Folder {
 public:
  Folder() : before_(fs::current_path()) { fs::current_path(folder_.path()); }
  ~Folder() { fs::current_path(before_); }
  void add(const std::string& file) {
    if (fs::path(file).has_parent_path()) fs::create_directories(fs::path(file).parent_path());
    std::ofstream(file) << "x";
  }

 private:
  fs::path before_;
  reelfolio::test::TempFolder folder_;
};

std::vector<std::string> names(const std::vector<fs::path>& arguments, const ListOptions& options = {},
                               const std::string& standard_input = "") {
  std::istringstream stream(standard_input);
  std::vector<std::string> out;
  for (const ListedInput& input : list_inputs(arguments, options, stream)) {
    out.push_back(input.error.empty() ? input.name : input.name + " (" + input.error + ")");
  }
  return out;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("inputs: a folder is walked recursively and sorted by bytes") {
  Folder folder;
  for (const char* file : {"in/b.mp4", "in/a/z.pdf", "in/a.png", "in/B.mp4", "in/a/.hidden", "in/.git/x"}) {
    folder.add(file);
  }
  CHECK(names({"in"}) == Names{"in/B.mp4", "in/a.png", "in/a/z.pdf", "in/b.mp4"});
  CHECK(names({"in/"}) == Names{"in/B.mp4", "in/a.png", "in/a/z.pdf", "in/b.mp4"});
  CHECK(names({"."}).front() == "./in/B.mp4");
}

TEST_CASE("inputs: arguments keep their order, the same path comes once") {
  Folder folder;
  folder.add("b.mp4");
  folder.add("in/a.mp4");
  CHECK(names({"b.mp4", "in", "./b.mp4", "in/a.mp4"}) == Names{"b.mp4", "in/a.mp4"});
  CHECK(names({"in/a.mp4", "b.mp4"}) == Names{"in/a.mp4", "b.mp4"});
}

TEST_CASE("inputs: what is missing is listed with its error") {
  Folder folder;
  folder.add("a.mp4");
  CHECK(names({"gone.mp4", "a.mp4", ""}) ==
        Names{"gone.mp4 (no such file or directory)", "a.mp4", " (no such file or directory)"});
  fs::create_directories("in");
  fs::create_symlink("nowhere", "in/broken.mp4");
  CHECK(names({"in"}) == Names{"in/broken.mp4 (link to what cannot be read: no such file or directory)"});
}

TEST_CASE("inputs: patterns concern what is found in folders") {
  Folder folder;
  for (const char* file :
       {"in/a.mp4", "in/b.pdf", "in/c.txt", "in/drafts/d.mp4", "in/deep/drafts/e.mp4", "x.txt"}) {
    folder.add(file);
  }
  ListOptions options;
  options.include = {"*.mp4", "*.pdf"};
  CHECK(names({"in", "x.txt"}, options) ==
        Names{"in/a.mp4", "in/b.pdf", "in/deep/drafts/e.mp4", "in/drafts/d.mp4", "x.txt"});
  options.exclude = {"drafts"};
  CHECK(names({"in"}, options) == Names{"in/a.mp4", "in/b.pdf"});
  options.exclude = {"drafts/*"};
  CHECK(names({"in"}, options) == Names{"in/a.mp4", "in/b.pdf", "in/deep/drafts/e.mp4"});
}

TEST_CASE("inputs: links to files are taken, folders behind links are not, so loops end") {
  Folder folder;
  folder.add("in/a.mp4");
  fs::create_directory_symlink("..", "in/loop");
  fs::create_symlink("a.mp4", "in/link.mp4");
  REQUIRE(::mkfifo("in/pipe", 0600) == 0);
  CHECK(names({"in"}) == Names{"in/a.mp4", "in/link.mp4"});
  fs::create_directory_symlink("in", "named");
  CHECK(names({"named"}) == Names{"named/a.mp4", "named/link.mp4"});
}

TEST_CASE("inputs: the output and what stands beside it are no inputs") {
  Folder folder;
  for (const char* file :
       {"out.jsonl", "out.jsonl.partial", "out.jsonl.run.json", "out.jsonl2", "sub/out.jsonl"}) {
    folder.add(file);
  }
  ListOptions options;
  options.output = "out.jsonl";
  CHECK(names({"."}, options) == Names{"./out.jsonl2", "./sub/out.jsonl"});
  CHECK(names({"out.jsonl"}, options) == Names{"out.jsonl"});
}

TEST_CASE("inputs: paths on stdin, by newline or by NUL") {
  Folder folder;
  for (const char* file : {"a b.mp4", "c\nd.mp4", "in/e.mp4", "-"}) folder.add(file);
  CHECK(names({"-"}, {}, "a b.mp4\n\nin\n") == Names{"a b.mp4", "in/e.mp4"});
  CHECK(names({"-"}, {}, std::string("a b.mp4\0c\nd.mp4\0", 16)) == Names{"a b.mp4", "c\nd.mp4"});
  CHECK(names({"./-"}) == Names{"./-"});
}

TEST_CASE("inputs: a limit takes the first, a name that is not UTF-8 is shown with replacements") {
  Folder folder;
  for (int i = 0; i < 1000; ++i) folder.add("in/" + std::to_string(1000 + i));
  ListOptions options;
  options.limit = 2;
  CHECK(names({"in"}, options) == Names{"in/1000", "in/1001"});
  options.limit.reset();
  CHECK(names({"in"}, options).size() == 1000);
  folder.add("\xff.mp4");
  std::istringstream stream;
  const auto listed = list_inputs({"\xff.mp4"}, {}, stream);
  CHECK(listed.at(0).name == "\xEF\xBF\xBD.mp4");
  CHECK(listed.at(0).path == "\xff.mp4");
}
