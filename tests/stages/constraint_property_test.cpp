#include <memory>
#include <string>

#include "engine/constraint/constraint.h"
#include "engine/engine.h"
#include "engine/error.h"
#include "engine/tokenizer.h"
#include "stages/language/json_schema.h"
#include "tests/support/catch.h"
#include "tests/support/golden_kit.h"
#include "tests/support/random_schema.h"

namespace {

using namespace reelfolio;
using engine::Constraint;
using test::RandomSchemas;

/// The constraint of a schema; null where no value satisfies it.
std::shared_ptr<const Constraint> compiled(const std::string& schema) {
  try {
    return Constraint::json_schema(schema);
  } catch (const engine::ConstraintError& error) {
    INFO(schema);
    INFO(error.what());
    CHECK(std::string(error.what()).find("no value satisfies") != std::string::npos);
    return nullptr;
  }
}

void check_values(std::uint32_t seed, int schemas, int values) {
  RandomSchemas random(seed);
  int valid = 0;
  int invalid = 0;
  for (int i = 0; i < schemas; ++i) {
    const RandomSchemas::Json schema = random.schema();
    const auto constraint = compiled(schema.dump());
    const auto validator = stages::JsonSchema::parse(schema.dump(), "schema.json", "schema");
    for (int j = 0; j < values; ++j) {
      const RandomSchemas::Json value = random.value(schema);
      const bool is_valid = validator.errors(value).empty();
      (is_valid ? valid : invalid) += 1;
      const bool admitted = constraint && constraint->admits_value(value.dump());
      if (admitted == is_valid) continue;
      INFO("seed " << seed << ", schema " << schema.dump());
      INFO("value " << value.dump() << " is " << (is_valid ? "valid" : "invalid"));
      CHECK(admitted == is_valid);
    }
  }
  // The property says something of both.
  CHECK(valid > schemas);
  CHECK(invalid > schemas);
}

/// Answers of a model with random weights at temperature 1, under constraints by chance.
void check_answers(std::uint32_t seed, int schemas) {
  engine::EngineOptions options;
  options.weights = engine::ops::WeightType::f32;
  options.threads = 1;
  const auto model = engine::Engine::load(test::golden_kits("text").front() / "model", options);
  RandomSchemas random(seed);
  std::vector<engine::Request> requests;
  std::vector<RandomSchemas::Json> documents;
  for (int i = 0; i < schemas; ++i) {
    const RandomSchemas::Json schema = random.schema();
    const auto constraint = compiled(schema.dump());
    if (!constraint) continue;
    engine::Request request;
    request.messages = {{engine::Role::user, {engine::TextPart{"Fill in the form."}}}};
    request.sampling.temperature = 1.0F;
    request.sampling.seed = static_cast<std::uint64_t>(i);
    request.constraint = constraint;
    // From no token to spare to plenty.
    const int least = static_cast<int>(model->tokenizer().encode(constraint->shortest()).size());
    const int spare[] = {0, 1, 3, 10, 40, 120};
    request.max_tokens = least + spare[i % 6];
    requests.push_back(request);
    documents.push_back(schema);
  }
  const auto answers = model->answer(requests);
  int completed = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const engine::Answer& answer = answers[i];
    INFO("seed " << seed << ", schema " << documents[i].dump());
    INFO("answer " << answer.text << ", at most " << requests[i].max_tokens << " tokens");
    CHECK(answer.generated_tokens <= requests[i].max_tokens);
    CHECK(requests[i].constraint->admits(answer.text));
    const auto value = RandomSchemas::Json::parse(answer.text, nullptr, false);
    REQUIRE_FALSE(value.is_discarded());
    const auto errors = stages::JsonSchema::parse(documents[i].dump(), "schema.json", "schema").errors(value);
    INFO((errors.empty() ? "" : errors.front()));
    CHECK(errors.empty());
    completed += answer.finish_reason == engine::FinishReason::length ? 1 : 0;
  }
  CHECK(completed > 0);
  CHECK(completed < static_cast<int>(answers.size()));
}

}  // namespace

TEST_CASE("constraint: admits a value exactly if an independent validator finds it valid") {
  check_values(1, 150, 12);
}

TEST_CASE("constraint: every answer of a random model parses and validates, however few tokens it may have") {
  check_answers(1, 60);
}

// reelfolio_constraint_property_test "[full]"
TEST_CASE("constraint: the same properties over a thousand schemas and more", "[.][full]") {
  for (std::uint32_t seed = 100; seed < 120; ++seed) check_values(seed, 200, 20);
  for (std::uint32_t seed = 200; seed < 205; ++seed) check_answers(seed, 220);
}
