#pragma once

/// What `--help` prints under the options of each command: examples, files, exit codes. Each begins with
/// a line break and ends without one.
namespace reelfolio::cli {

inline constexpr const char* kTopFooter = R"(
Examples:
  reelfolio run configs/caption-videos.yaml films/ -o captions.jsonl --model gemma-4-E4B-it
  reelfolio check configs/caption-videos.yaml
  reelfolio ask photo.jpg "What is on the table?" --model gemma-4-E4B-it

`reelfolio COMMAND --help` says more about a command.
Variables: REELFOLIO_MODEL, _WEIGHTS, _OUTPUT, _THREADS, _DECODERS, _KERNELS, _PROGRESS, _LOG_LEVEL
and _PASSWORD_FILE stand for the flags of these names; flags win over them, and they win over the graph.)";

inline constexpr const char* kRunFooter = R"(
Examples:
  reelfolio run graph.yaml
  reelfolio run graph.yaml films/ more/trip.mp4 -o out.jsonl
  find films -name '*.mp4' -print0 | reelfolio run graph.yaml - -o - | jq .caption
  reelfolio run graph.yaml --set caption.max_tokens=32 --dry-run

While a run goes on its lines stand in PATH.partial; PATH appears when it is complete. PATH.ledger
remembers what was done: the same command again does what is new or has changed, also after a kill or a power
cut. PATH.media keeps pictures and sounds for changed questions (limits.media_cache), and may be deleted at any
time. PATH.run.json tells how long the run took, and with what. An output to stdout is not remembered.

Exit codes: 0 done, 2 bad flag or graph, 3 some inputs failed (each has an error record), 4 the model
cannot be loaded, 5 the output cannot be written (quietly where the reader of a pipe has gone), 11 another
run writes this output; 129, 130 and 143 interrupted by SIGHUP, SIGINT (Ctrl-C) and SIGTERM.)";

inline constexpr const char* kMergeFooter = R"(
Examples:
  reelfolio run graph.yaml films/ --shard 1/2 -o part1.jsonl    # on one machine
  reelfolio run graph.yaml films/ --shard 2/2 -o part2.jsonl    # on another
  reelfolio merge part1.jsonl part2.jsonl -o captions.jsonl

The run report beside each shard (part1.jsonl.run.json) knows where its inputs stand in the whole. Without
them shards are merged by the names of their inputs, where those are in order.)";

inline constexpr const char* kDiffFooter = R"(
Examples:
  reelfolio diff yesterday.jsonl today.jsonl
  reelfolio diff expected.jsonl out.jsonl > changes.txt || exit 1    # in CI

Exit codes: 0 no difference, 3 differences, 2 a file is no output of run.)";

inline constexpr const char* kCheckFooter = R"(
Examples:
  reelfolio check graph.yaml
  reelfolio check graph.yaml --dot | dot -Tsvg -o graph.svg)";

inline constexpr const char* kAskFooter = R"(
Examples:
  reelfolio ask photo.jpg "What is on the table?" --model gemma-4-E4B-it
  reelfolio ask before.png after.png "What has changed?"
  reelfolio ask contract.pdf "Who signs?" --soft-tokens 1120
  reelfolio ask message.ogg "Who calls, and what about?"
  reelfolio ask chart.png report.md "Does the chart show what the report says?")";

inline constexpr const char* kBenchFooter = R"(
Examples:
  reelfolio bench --synthetic e4b
  reelfolio bench --model gemma-4-E4B-it --weights bf16 --threads 8 --only decode,image_280
  reelfolio bench --synthetic e2b --json | jq .decode_16_tok_s

Fractions compare with what this machine reaches when it only streams memory, and when it only
multiplies large matrices; both are measured last. Memory is that of this process.)";

inline constexpr const char* kSchemaFooter = R"(
Examples:
  reelfolio schema invoice.json                     every refused keyword with its path
  jq -c .invoice.value out.jsonl | reelfolio schema invoice.json -
  reelfolio schema --keywords)";

inline constexpr const char* kTokenizeFooter = R"(
Examples:
  reelfolio model tokenize gemma-4-E4B-it "Hello, world"
  jq -c .text notes.jsonl | reelfolio model tokenize gemma-4-E4B-it -)";

}  // namespace reelfolio::cli
