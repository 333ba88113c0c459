#include "pipeline/ledger_records.h"

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

namespace reelfolio::pipeline {

namespace {

using stages::Json;

constexpr std::size_t kHashBytes = 32;
constexpr std::array kUnitKinds = {stages::UnitKind::scene, stages::UnitKind::page, stages::UnitKind::image,
                                   stages::UnitKind::clip, stages::UnitKind::text};
constexpr std::array kStatuses = {stages::InputStatus::ok, stages::InputStatus::partial,
                                  stages::InputStatus::failed, stages::InputStatus::skipped};
constexpr std::array kReasons = {engine::FinishReason::stop, engine::FinishReason::length,
                                 engine::FinishReason::context, engine::FinishReason::repetition};

std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Thrown inside the readers: the record is not one.
struct Malformed {};

template <class T, std::size_t N>
T pick(const std::array<T, N>& values, std::size_t index) {
  if (index >= N) throw Malformed{};
  return values[index];
}

Json unit_json(const stages::Unit& unit) {
  // Counts the members: a new one is either kept or left out on purpose. Text and words are left out.
  [[maybe_unused]] const auto& [u0, u1, u2, u3, u4, u5, u6, u7, u8, u9, u10, u11, u12] = unit;
  return Json::array({unit.producer, static_cast<int>(unit.kind), unit.index, unit.start_s, unit.end_s,
                      unit.number, unit.width_px, unit.height_px, unit.first_line, unit.last_line,
                      unit.timed});
}

std::shared_ptr<const stages::Unit> read_unit(const Json& json) {
  auto unit = std::make_shared<stages::Unit>();
  unit->producer = json.at(0).get<std::string>();
  unit->kind = pick(kUnitKinds, json.at(1).get<std::size_t>());
  unit->index = json.at(2).get<int>();
  unit->start_s = json.at(3).get<double>();
  unit->end_s = json.at(4).get<double>();
  unit->number = json.at(5).get<int>();
  unit->width_px = json.at(6).get<int>();
  unit->height_px = json.at(7).get<int>();
  unit->first_line = json.at(8).get<int>();
  unit->last_line = json.at(9).get<int>();
  unit->timed = json.at(10).get<bool>();
  return unit;
}

Json named_values_json(const std::vector<std::pair<std::string, Json>>& values) {
  Json json = Json::array();
  for (const auto& [name, value] : values) json.push_back(Json::array({name, value}));
  return json;
}

std::vector<std::pair<std::string, Json>> read_named_values(const Json& json) {
  std::vector<std::pair<std::string, Json>> values;
  for (const Json& each : json) values.emplace_back(each.at(0).get<std::string>(), each.at(1));
  return values;
}

/// f() where it succeeds; nothing where the record is malformed.
template <class F>
auto readable(F f) -> std::optional<decltype(f())> {
  try {
    return f();
  } catch (const Malformed&) {
  } catch (const nlohmann::json::exception&) {
  } catch (const stages::ProtocolError&) {
  }
  return std::nullopt;
}

/// Deeply nested records would overflow the stack of their destructor.
Json parse(std::string_view record) {
  constexpr int kMostDepth = 200;
  return Json::parse(record, [](int depth, Json::parse_event_t /*event*/, Json& /*parsed*/) {
    if (depth > kMostDepth) throw Malformed{};
    return true;
  });
}

}  // namespace

std::string result_record(const stages::InputResult& result) {
  Json json;
  json["status"] = static_cast<int>(result.status);
  Json& units = json["units"] = Json::array();
  for (const auto& [unit, frame_times_s, results] : result.units) {
    units.push_back(Json::array({unit_json(*unit), frame_times_s, named_values_json(results)}));
  }
  Json& errors = json["errors"] = Json::array();
  for (const auto& [stage, unit, code, message] : result.errors) {
    errors.push_back(Json::array({stage, unit ? unit_json(*unit) : Json(nullptr), code, message}));
  }
  json["results"] = named_values_json(result.results);
  return dump(json);
}

std::optional<stages::InputResult> read_result(std::string_view record,
                                               std::shared_ptr<const stages::InputFile> input) {
  return readable([&] {
    const Json json = parse(record);
    stages::InputResult result;
    result.input = std::move(input);
    result.status = pick(kStatuses, json.at("status").get<std::size_t>());
    for (const Json& unit : json.at("units")) {
      result.units.push_back(
          {read_unit(unit.at(0)), unit.at(1).get<std::vector<double>>(), read_named_values(unit.at(2))});
    }
    for (const Json& error : json.at("errors")) {
      std::shared_ptr<const stages::Unit> of;
      // An error shares its unit with the unit's own line, as it did when it was made.
      if (!error.at(1).is_null()) {
        of = read_unit(error.at(1));
        for (const stages::UnitResult& unit : result.units) {
          if (unit.unit->producer == of->producer && unit.unit->index == of->index) of = unit.unit;
        }
      }
      result.errors.push_back({error.at(0).get<std::string>(), of, error.at(2).get<std::string>(),
                               error.at(3).get<std::string>()});
    }
    result.results = read_named_values(json.at("results"));
    return result;
  });
}

std::string decoding_record(const Decoding& decoding) {
  std::string record;
  const auto put_number = [&](std::size_t value) {
    const auto number = static_cast<std::uint32_t>(value);
    char bytes[sizeof number];
    std::memcpy(bytes, &number, sizeof number);
    record.append(bytes, sizeof number);
  };
  // A record that is cut off between two events is none.
  put_number(decoding.events.size());
  for (const Decoding::Event& event : decoding.events) {
    const std::vector<std::uint8_t> message = event.message.bytes();
    put_number(message.size());
    record.append(message.begin(), message.end());
    for (const std::string& hash : event.media) record += hash;
  }
  return record;
}

std::optional<Decoding> read_decoding(std::string_view record) {
  return readable([&] {
    const auto take = [&](std::size_t count) {
      if (count > record.size()) throw Malformed{};
      const std::string_view taken = record.substr(0, count);
      record.remove_prefix(count);
      return taken;
    };
    const auto take_number = [&] {
      std::uint32_t number = 0;
      std::memcpy(&number, take(sizeof number).data(), sizeof number);
      return number;
    };
    Decoding decoding;
    const std::uint32_t events = take_number();
    while (decoding.events.size() < events) {
      const std::string_view bytes = take(take_number());
      Decoding::Event event;
      event.message =
          stages::Message::parse({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
      const std::size_t clips = event.message.sound ? event.message.sound->clips.size() : 0;
      for (std::size_t i = 0; i < event.message.pictures.size() + clips; ++i) {
        event.media.emplace_back(take(kHashBytes));
      }
      decoding.events.push_back(std::move(event));
    }
    if (!record.empty()) throw Malformed{};
    return decoding;
  });
}

std::string answer_record(const KnownAnswer& known) {
  Json json;
  if (known.refused) {
    json["refused"] = *known.refused;
    return dump(json);
  }
  // Counts the members. Times, and what was shared with others, are of the run that made it.
  [[maybe_unused]] const auto& [a0, a1, a2, a3, a4, a5, a6, a7, a8, a9] = known.answer;
  const engine::Answer& answer = known.answer;
  json["text"] = answer.text;
  json["finish_reason"] = static_cast<int>(answer.finish_reason);
  json["counts"] = Json::array({answer.prompt_tokens, answer.generated_tokens, answer.forced_tokens});
  if (answer.thinking) json["thinking"] = *answer.thinking;
  if (answer.stopped_at) json["stopped_at"] = *answer.stopped_at;
  for (const auto& [begin, end, log_probability] : answer.tokens) {
    json["tokens"].push_back(
        Json::array({begin, end, log_probability ? Json(double{*log_probability}) : Json(nullptr)}));
  }
  return dump(json);
}

std::optional<KnownAnswer> read_answer(std::string_view record) {
  return readable([&] {
    const Json json = parse(record);
    KnownAnswer known;
    if (json.contains("refused")) {
      known.refused = json.at("refused").get<std::string>();
      return known;
    }
    engine::Answer& answer = known.answer;
    answer.text = json.at("text").get<std::string>();
    answer.finish_reason = pick(kReasons, json.at("finish_reason").get<std::size_t>());
    answer.prompt_tokens = json.at("counts").at(0).get<int>();
    answer.generated_tokens = json.at("counts").at(1).get<int>();
    answer.forced_tokens = json.at("counts").at(2).get<int>();
    if (json.contains("thinking")) answer.thinking = json.at("thinking").get<std::string>();
    if (json.contains("stopped_at")) answer.stopped_at = json.at("stopped_at").get<std::string>();
    if (json.contains("tokens")) {
      for (const Json& token : json.at("tokens")) {
        engine::AnswerToken read{token.at(0).get<std::size_t>(), token.at(1).get<std::size_t>(), {}};
        if (read.begin > read.end || read.end > answer.text.size()) throw Malformed{};
        if (!token.at(2).is_null()) read.log_probability = static_cast<float>(token.at(2).get<double>());
        answer.tokens.push_back(read);
      }
    }
    return known;
  });
}

}  // namespace reelfolio::pipeline
