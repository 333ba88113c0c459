#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/synthetic_tokenizer.h"
#include "engine/tokenizer.h"

/// Load time and speed of the tokenizer on an invented vocabulary of the release's size,
/// or on that of a model directory given as the argument. One thread.
namespace {

using reelfolio::engine::Tokenizer;

/// Processor time of this thread, which other work on the machine disturbs little.
double thread_ms() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

double median_ms(int runs, const std::function<void()>& work) {
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) {
    const double start = thread_ms();
    work();
    times.push_back(thread_ms() - start);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

void encode_speed(const Tokenizer& tokenizer, const char* name, const std::string& text, int runs) {
  std::size_t tokens = 0;
  const double ms = median_ms(runs, [&] { tokens = tokenizer.encode(text).size(); });
  std::printf("encode %-28s %9zu bytes %8zu tokens %9.3f ms %7.1f MB/s\n", name, text.size(), tokens, ms,
              static_cast<double>(text.size()) / 1e3 / ms);
}

}  // namespace

int main(int argc, char** argv) {
  std::printf("%s, 1 thread, medians of processor time\n", cpu_name().c_str());
  if (argc > 1) {
    std::printf("load %s: %.0f ms\n", argv[1], median_ms(5, [&] { Tokenizer::load(argv[1]); }));
  } else {
    for (const bool pairs : {true, false}) {
      const std::string json = reelfolio::engine::synthetic_tokenizer_json(pairs);
      std::printf("parse tokenizer.json, merges as %s: %.1f MB, %.0f ms\n", pairs ? "pairs" : "strings",
                  static_cast<double>(json.size()) / 1e6, median_ms(5, [&] { Tokenizer::parse(json); }));
    }
  }
  const Tokenizer tokenizer = argc > 1 ? Tokenizer::load(argv[1])
                                       : Tokenizer::parse(reelfolio::engine::synthetic_tokenizer_json(true));
  std::printf("%zu ids, %zu merges\n", tokenizer.vocab_size(), tokenizer.num_merges());

  encode_speed(tokenizer, "a page", reelfolio::engine::synthetic_text(3000, 1), 101);
  const std::string megabyte = reelfolio::engine::synthetic_text(1 << 20, 2);
  encode_speed(tokenizer, "a megabyte", megabyte, 5);
  std::string unbroken = megabyte;
  unbroken.erase(std::remove(unbroken.begin(), unbroken.end(), ' '), unbroken.end());
  encode_speed(tokenizer, "a megabyte without spaces", unbroken, 3);
  encode_speed(tokenizer, "a megabyte of one letter", std::string(1 << 20, 'a'), 3);

  const auto ids = tokenizer.encode(megabyte);
  std::printf("decode %zu tokens: %.2f ms\n", ids.size(),
              median_ms(5, [&] { (void)tokenizer.decode(ids, true); }));
  return tokenizer.decode(ids, true) == megabyte ? EXIT_SUCCESS : EXIT_FAILURE;
}
