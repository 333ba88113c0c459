// Times preprocessing and the vision tower in the release's shapes with invented weights.
//
//   reelfolio_vision_bench [--threads N] [--repeats N] [--weights bf16|f32] [--budgets 70,280,1120]

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <functional>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "engine/kernels/attention.h"
#include "engine/ops/attention.h"
#include "engine/ops/matmul.h"
#include "engine/safetensors.h"
#include "engine/vision/preprocess.h"
#include "engine/vision/resize.h"
#include "engine/vision/vision_tower.h"
#include "tests/engine/vision_checkpoint.h"
#include "tests/support/temp_folder.h"

namespace {

using namespace reelfolio::engine;
using reelfolio::test::VisionShape;

struct Timing {
  double median_s;
  double best_s;
  double cpu_s;  ///< least processor time of a run, all threads: tells what a busy machine hides
};

Timing time_of(int repeats, const std::function<void()>& work) {
  work();  // compiles kernels, touches memory
  std::vector<double> seconds;
  std::vector<double> cpu;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t cpu_start = std::clock();
    work();
    cpu.push_back(static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds.front(), *std::min_element(cpu.begin(), cpu.end())};
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

RgbImage picture(int width, int height) {
  RgbImage image;
  image.width = width;
  image.height = height;
  image.pixels.resize(static_cast<std::size_t>(width) * height * 3);
  std::uint32_t state = 1;
  for (std::uint8_t& pixel : image.pixels) {
    state = state * 1664525U + 1013904223U;
    pixel = static_cast<std::uint8_t>(state >> 24);
  }
  return image;
}

/// The processor's best at matmul: one large linear layer of kMatmulOperations.
Timing time_matmul(ops::WeightType type, int repeats) {
  constexpr std::size_t kRows = 512, kIn = 2560, kOut = 10240;
  std::vector<float> weights(kIn * kOut, 0.01F);
  const ops::Linear linear(std::as_bytes(std::span<const float>(weights)), DType::f32, kOut, kIn, type);
  MatrixBuffer x(kRows, kIn), y(kRows, kOut);
  std::fill_n(x.view().data, kRows * kIn, 0.5F);
  return time_of(repeats, [&] { linear.apply(x.view(), y.view()); });
}
constexpr double kMatmulOperations = 2.0 * 512 * 2560 * 10240;

struct Operations {
  double linear = 0;
  double attention = 0;
};

Operations operations(const VisionShape& shape, double patches, double soft_tokens) {
  const double h = static_cast<double>(shape.hidden_size);
  const double a = static_cast<double>(shape.heads * shape.head_dim);
  const double m = static_cast<double>(shape.intermediate_size);
  const double layers = static_cast<double>(shape.layers);
  Operations result;
  result.linear = 2 * patches * (layers * (4 * h * a + 3 * h * m) + 768 * h) +
                  2 * soft_tokens * h * static_cast<double>(shape.text_hidden_size);
  result.attention = layers * 4 * patches * patches * a;
  return result;
}

void print_preprocess(int width, int height, int budget, int repeats) {
  const RgbImage image = picture(width, height);
  const auto size = vision::target_size(height, width, budget);
  const Timing resize = time_of(repeats, [&] { vision::resize(image, size); });
  const Timing whole = time_of(repeats, [&] { vision::preprocess_image(image, budget, false); });
  std::printf(
      "preprocess %4d x %4d, budget %4d -> %4d x %4d: resize %7.2f ms, all %7.2f ms, processor %.2f ms\n",
      width, height, budget, size.width, size.height, resize.median_s * 1e3, whole.median_s * 1e3,
      whole.cpu_s * 1e3);
}

void print_attention(const kernels::AttentionKernel& kernel, const VisionShape& shape, std::size_t patches,
                     int repeats) {
  const std::size_t cols = shape.heads * shape.head_dim;
  MatrixBuffer q(patches, cols), out(patches, cols), scratch;
  for (std::size_t r = 0; r < patches; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      q.row(r)[c] = 0.01F * static_cast<float>((r * 31 + c * 17 + r * c % 13) % 101) - 0.5F;
    }
  }
  const Timing timing = time_of(repeats, [&] {
    ops::attention(kernel, q.view(), q.view(), q.view(), shape.heads, out.view(), scratch);
  });
  const double operations_per_layer =
      4.0 * static_cast<double>(patches) * static_cast<double>(patches * cols);
  std::printf(
      "attention %s, %zu patches, one layer: median %.2f ms, best %.2f ms, processor %.2f ms, %.0f G op/s\n",
      std::string(kernel.name).c_str(), patches, timing.median_s * 1e3, timing.best_s * 1e3,
      timing.cpu_s * 1e3, operations_per_layer / timing.best_s / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  int threads = ops::num_threads();
  int repeats = 5;
  ops::WeightType type = ops::WeightType::bf16;
  std::vector<int> budgets{70, 280, 1120};
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const std::string value = argv[i + 1];
    if (flag == "--threads") threads = std::stoi(value);
    if (flag == "--repeats") repeats = std::stoi(value);
    if (flag == "--weights") type = value == "f32" ? ops::WeightType::f32 : ops::WeightType::bf16;
    if (flag == "--budgets") {
      budgets.clear();
      std::stringstream list(value);
      for (std::string item; std::getline(list, item, ',');) budgets.push_back(std::stoi(item));
    }
  }
  ops::set_num_threads(threads);
  const char* type_name = type == ops::WeightType::bf16 ? "bf16" : "f32";
  const kernels::AttentionKernel& kernel = kernels::best_attention_kernel(type);
  std::printf("%s, %d threads, %s; weights %s, attention kernel %s; median of %d\n", cpu_name().c_str(),
              threads, ops::matmul_description().c_str(), type_name, std::string(kernel.name).c_str(),
              repeats);
  print_preprocess(4000, 3000, 1120, repeats);
  print_preprocess(1280, 720, 70, repeats);
  print_preprocess(1280, 720, 280, repeats);

  const Timing matmul = time_matmul(type, repeats);
  const double rate = kMatmulOperations / matmul.best_s;
  const double cpu_rate = kMatmulOperations / matmul.cpu_s;
  std::printf(
      "matmul %s, 512 x 2560 x 10240: %.0f G op/s, %.0f a second of processor time; floors take these "
      "rates\n",
      type_name, rate / 1e9, cpu_rate / 1e9);
  const VisionShape shape = VisionShape::release();
  for (const std::size_t patches : {630U, 2520U}) print_attention(kernel, shape, patches, repeats);

  const reelfolio::test::TempFolder dir;
  reelfolio::test::write_checkpoint(dir.path(), reelfolio::test::vision_tensors(shape, 1), true);
  const vision::VisionTower tower(reelfolio::test::vision_model_config(shape), Checkpoint::open(dir.path()),
                                  type);
  for (const int budget : budgets) {
    const auto image = vision::preprocess_image(picture(1280, 720), budget, false);
    const Timing timing = time_of(repeats, [&] { tower.encode(image); });
    const Operations work = operations(shape, static_cast<double>(image.patches.rows()), image.soft_tokens());
    const double total = work.linear + work.attention;
    std::printf(
        "budget %4d (%4d soft tokens): %.2f T op in linears, %.2f in attention; median %.3f s, best %.3f s, "
        "%.0f %% of the floor's %.3f s; processor %.3f s, %.0f %% of its floor's %.3f s\n",
        budget, image.soft_tokens(), work.linear / 1e12, work.attention / 1e12, timing.median_s,
        timing.best_s, 100 * total / rate / timing.median_s, total / rate, timing.cpu_s,
        100 * total / cpu_rate / timing.cpu_s, total / cpu_rate);
    std::fflush(stdout);
  }
  return 0;
}
