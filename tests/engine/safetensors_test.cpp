#include "engine/safetensors.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/engine/model_files.h"
#include "tests/support/catch.h"

using namespace reelfolio::engine;
using reelfolio::test::model_error;
using reelfolio::test::safetensors_file;
using reelfolio::test::TempFolder;

namespace {

constexpr const char* kIndex = "model.safetensors.index.json";

/// What opening a directory with this one file says.
std::string error_of(const std::string& file) {
  const TempFolder dir;
  dir.write("model.safetensors", file);
  return model_error([&] { Checkpoint::open(dir.path()); });
}

std::string error_of_header(const std::string& header, std::size_t data_bytes = 8) {
  return error_of(safetensors_file(header, std::string(data_bytes, 'x')));
}

}  // namespace

TEST_CASE("safetensors: tensors of one file, by name, with their bytes") {
  const TempFolder dir;
  dir.write("model.safetensors", safetensors_file({{"b", "F32", {2, 3}, {}},
                                                   {"a", "BF16", {4}, {}},
                                                   {"scalar", "F32", {}, {}},
                                                   {"none", "U8", {0, 7}, {}}}));
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  REQUIRE(checkpoint.tensors().size() == 4);
  CHECK(checkpoint.tensors()[0].name == "a");
  const TensorView& b = checkpoint.require("b", {2, 3});
  CHECK(b.dtype == DType::f32);
  CHECK(b.num_elements() == 6);
  for (std::size_t i = 0; i < 24; ++i) CHECK(b.bytes[i] == static_cast<std::byte>(i));
  CHECK(checkpoint.require("scalar", {}).bytes.size() == 4);
  CHECK(checkpoint.find("none")->bytes.empty());
  CHECK(checkpoint.find("c") == nullptr);
  REQUIRE(checkpoint.files().size() == 1);
  CHECK(checkpoint.files()[0].data.size() == 24 + 8 + 4);
}

TEST_CASE("safetensors: require names file, tensor, actual and expected") {
  const TempFolder dir;
  dir.write("model.safetensors", safetensors_file({{"a.weight", "F32", {2, 3}, {}}, {"n", "I8", {3}, {}}}));
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  CHECK(model_error([&] {
          checkpoint.require("a.weight", {3, 2});
        }) == "model.safetensors: tensor 'a.weight' is [2, 3], expected [3, 2]");
  CHECK(model_error([&] { checkpoint.require("a.weight", {6}); }) ==
        "model.safetensors: tensor 'a.weight' is [2, 3], expected [6]");
  CHECK(model_error([&] { checkpoint.require("n", {3}); }) ==
        "model.safetensors: tensor 'n' is I8, expected F32, BF16 or F16");
  CHECK(model_error([&] { checkpoint.require("gone"); }) ==
        dir.path().string() + ": tensor 'gone' is missing");
}

TEST_CASE("safetensors: values of each float type, also after their pages were released") {
  const TempFolder dir;
  const float one_and_half = 1.5F;
  std::string f32(reinterpret_cast<const char*>(&one_and_half), 4);
  f32 += std::string("\0\0\x80\xFF", 4);          // -infinity
  const std::string bf16("\xC0\x3F\x80\xFF", 4);  // 1.5, -infinity
  const std::string f16("\x00\x3E\x00\xFC", 4);   // 1.5, -infinity
  dir.write(
      "model.safetensors",
      safetensors_file({{"f32", "F32", {2}, f32}, {"bf16", "BF16", {2}, bf16}, {"f16", "F16", {2}, f16}}));
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  for (const TensorView& tensor : checkpoint.tensors()) {
    INFO(tensor.name);
    checkpoint.advise_needed(tensor);
    for (int round = 0; round < 2; ++round) {
      std::vector<float> values(2);
      read_f32(tensor, values);
      CHECK(values[0] == 1.5F);
      CHECK(values[1] == -INFINITY);
      checkpoint.release(tensor);
    }
    checkpoint.advise_random(tensor);
    std::vector<float> second(1);
    read_f32(tensor, 1, second);
    CHECK(second[0] == -INFINITY);
  }
}

TEST_CASE("safetensors: shards of an index are one checkpoint") {
  const TempFolder dir;
  dir.write("model-1.safetensors", safetensors_file({{"a", "F32", {1}, {}}}));
  dir.write("model-2.safetensors", safetensors_file({{"b", "F32", {2}, {}}}));
  dir.write(kIndex,
            R"({"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})");
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  CHECK(checkpoint.files().size() == 2);
  CHECK(checkpoint.require("a", {1}).file == "model-1.safetensors");
  CHECK(checkpoint.require("b", {2}).file == "model-2.safetensors");
}

TEST_CASE("safetensors: an index may not lie") {
  const TempFolder dir;
  dir.write("1.safetensors", safetensors_file({{"a", "F32", {1}, {}}}));
  dir.write("2.safetensors", safetensors_file({{"a", "F32", {1}, {}}, {"b", "F32", {1}, {}}}));
  const auto error = [&](const std::string& map) {
    dir.write(kIndex, "{\"weight_map\": " + map + "}");
    return model_error([&] { Checkpoint::open(dir.path()); });
  };
  const std::string in_index = std::string(kIndex) + ": tensor 'a' lies in '";
  for (const std::string name : {"../1.safetensors", "/etc/passwd", "..", ".", "", "sub/1.safetensors"}) {
    CHECK(error("{\"a\": \"" + name + "\"}") ==
          in_index + name + "', expected a file name in the model directory");
  }
  CHECK(error(R"({"a": "3.safetensors"})") == "3.safetensors: not found in " + dir.path().string());
  CHECK(error(R"({"a": "1.safetensors", "b": "1.safetensors"})") ==
        "1.safetensors: tensor 'b' is missing, although model.safetensors.index.json puts it there");
  CHECK(error(R"({"a": "1.safetensors", "b": "2.safetensors"})") ==
        "1.safetensors: tensor 'a' occurs twice, also in 2.safetensors");
  CHECK(error(R"({"a": "1.safetensors", "a": "1.safetensors"})") ==
        std::string(kIndex) + ": tensor 'a' occurs twice");
  CHECK(error(R"({"a": 1})") == std::string(kIndex) + ": tensor 'a' has no file name");
  CHECK(error("{}") == std::string(kIndex) + ": key 'weight_map' is empty");
  CHECK(error("7").find("weight_map' is 7, expected an object") != std::string::npos);
}

TEST_CASE("safetensors: a file cut at any byte is refused, not read past its end") {
  const std::string whole = safetensors_file({{"a", "F32", {2}, {}}, {"b", "U8", {3}, {}}});
  CHECK(error_of(whole).empty());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    INFO("cut to " << size << " of " << whole.size());
    CHECK_FALSE(error_of(whole.substr(0, size)).empty());
  }
  CHECK(error_of("") == "model.safetensors: is empty");
  CHECK(error_of("abc") == "model.safetensors: is 3 bytes, too short for a header");
  CHECK(error_of(whole.substr(0, whole.size() - 1)) ==
        "model.safetensors: tensor 'b' lies at bytes 8 to 11, but the file has 10 bytes of data");
}

TEST_CASE("safetensors: headers that are too long") {
  CHECK(error_of(std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10)) ==
        "model.safetensors: header is 18446744073709551615 bytes, expected at most 100000000");
  CHECK(error_of(std::string("\x09\0\0\0\0\0\0\0{}", 10)) ==
        "model.safetensors: header is 9 bytes, but the file ends 2 bytes after its length");
}

TEST_CASE("safetensors: malformed headers are refused with the tensor's name") {
  CHECK(error_of_header("{").find("model.safetensors: not valid JSON") == 0);
  CHECK(error_of_header("[]") == "model.safetensors: the document is [], expected an object");
  CHECK(error_of_header(R"({"a":1})") == "model.safetensors: tensor 'a' is no object");
  const auto entry = [](const std::string& fields) { return error_of_header("{\"a\":{" + fields + "}}"); };
  CHECK(entry(R"("shape":[8],"data_offsets":[0,8])") == "model.safetensors: tensor 'a' has no dtype");
  CHECK(entry(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])") ==
        "model.safetensors: tensor 'a' has the unknown dtype 'F8_E4M3'");
  CHECK(entry(R"("dtype":"U8","data_offsets":[0,8])") == "model.safetensors: tensor 'a' has no shape");
  CHECK(entry(R"("dtype":"U8","shape":[-8],"data_offsets":[0,8])") ==
        "model.safetensors: tensor 'a' has a shape that is no list of sizes");
  CHECK(entry(R"("dtype":"U8","shape":[8])") == "model.safetensors: tensor 'a' has no pair of data_offsets");
  CHECK(entry(R"("dtype":"U8","shape":[8],"data_offsets":[0,4,8])") ==
        "model.safetensors: tensor 'a' has no pair of data_offsets");
  CHECK(entry(R"("dtype":"U8","shape":[8],"data_offsets":[8,0])") ==
        "model.safetensors: tensor 'a' lies at bytes 8 to 0, but the file has 8 bytes of data");
  CHECK(entry(R"("dtype":"F32","shape":[8],"data_offsets":[0,8])") ==
        "model.safetensors: tensor 'a' has 8 bytes, expected 32 for F32 [8]");
  CHECK(entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])") ==
        "model.safetensors: tensor 'a' is [4294967296, 4294967296], more than 2^64 bytes");
  CHECK(entry(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,8],"data_offsets":[0,8])") ==
        "model.safetensors: tensor 'a' has 9 dimensions, expected at most 8");
}

TEST_CASE("safetensors: overlaps, gaps and doubles are refused") {
  const auto two = [](const std::string& second, int begin, int end) {
    return error_of_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},")" + second +
                           R"(":{"dtype":"U8","shape":[)" + std::to_string(end - begin) +
                           R"(],"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(end) +
                           "]}}");
  };
  CHECK(two("b", 4, 8).empty());
  CHECK(two("b", 2, 8) == "model.safetensors: tensor 'b' overlaps tensor 'a'");
  CHECK(two("b", 0, 8) == "model.safetensors: tensor 'b' overlaps tensor 'a'");
  CHECK(two("b", 5, 8) == "model.safetensors: data bytes 4 to 5 belong to no tensor");
  CHECK(two("b", 4, 7) == "model.safetensors: data bytes 7 to 8 belong to no tensor");
  CHECK(two("a", 4, 8) == "model.safetensors: tensor 'a' occurs twice");
}

TEST_CASE("safetensors: what is no file is refused") {
  const TempFolder dir;
  CHECK(model_error([&] { Checkpoint::open(dir.path()); }) ==
        "model.safetensors: not found in " + dir.path().string());
  std::filesystem::create_directory(dir.path() / "model.safetensors");
  CHECK(model_error([&] { Checkpoint::open(dir.path()); }) == "model.safetensors: not a regular file");
}
