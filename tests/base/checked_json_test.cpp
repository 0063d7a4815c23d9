#include "base/checked_json.hpp"

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <string>

#include "support/models.hpp"

namespace kvcache {
namespace {

using test::expect_error;

constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

JsonSource source() { return {"x.json", ErrorCode::config_invalid, "write it again"}; }

/// Expects the error that `read(document)` throws.
template <typename Read>
void expect_refused(const std::string& text, const std::string& message, const Read& read) {
  SCOPED_TRACE(text.substr(0, 100));
  expect_error(ErrorCode::config_invalid, message, [&] {
    const JsonDocument document(text, source());
    read(document.root());
  });
}

void parse(const JsonValue& /*root*/) {}

TEST(CheckedJson, ReadsWhatItShould) {
  const JsonDocument document(
      R"({"n": -3, "big": 9223372036854775807, "a": [1, 2], "t": "x", "f": {"g": "0af"}})",
      source());
  const JsonValue root = document.root();
  EXPECT_EQ(root.field("n").integer(-3, 0), -3);
  EXPECT_EQ(root.field("big").integer(0, kMost), kMost);
  EXPECT_EQ(root.field("big").size(0, std::numeric_limits<std::size_t>::max()),
            static_cast<std::size_t>(kMost));
  EXPECT_EQ(root.field("a").integers(0, 9), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(root.field("a").elements()[1].size(0, 2), 2U);
  EXPECT_EQ(root.field("t").text(), "x");
  EXPECT_EQ(root.field("f").field("g").hex_digest(3), "0af");
}

TEST(CheckedJson, RefusesWhatIsNoWholeNumberWithinTheRange) {
  for (const std::string number : {"2.9", "3.0", "1e3", "\"3\"", "true", "null", "[3]", "0", "-1",
                                   "2147483648", "18446744073709551615", "18446744073709551616",
                                   "-9223372036854775809", "100000000000000000000000"}) {
    expect_refused("{\"n\": " + number + "}", "must be a whole number from 1 to 2147483647",
                   [](const JsonValue& root) { (void)root.field("n").size(1, 2147483647); });
    expect_refused("{\"n\": [1, " + number + "]}", "x.json: field \"n[1]\" is ",
                   [](const JsonValue& root) { (void)root.field("n").integers(1, 2147483647); });
  }
  expect_refused("{\"n\": 2.9}", "x.json: field \"n\" is 2.9, must be a whole number of at least 0",
                 [](const JsonValue& root) { (void)root.field("n").integer(0, kMost); });
  expect_refused("{\"n\": 9223372036854775808}", "is 9223372036854775808, must be a whole number",
                 [](const JsonValue& root) { (void)root.field("n").integer(kLeast, kMost); });
}

TEST(CheckedJson, NamesThePlaceAndTheDocument) {
  const auto read = [](const JsonValue& root) {
    (void)root.field("files").elements().at(1).field("bytes").size(0, 9);
  };
  expect_refused(
      R"({"files": [{}, {"bytes": -1}]})",
      "x.json: field \"files[1].bytes\" is -1, must be a whole number from 0 to 9; write "
      "it again",
      read);
  expect_refused(R"({"files": [{}, {}]})", "x.json: field \"files[1].bytes\" is missing", read);
  expect_refused(R"({"files": [{}, 7]})", "field \"files[1]\" is 7, must be an object", read);
  expect_refused(R"({"files": {}})", "field \"files\" is an object, must be an array", read);
  expect_refused("[1, 2]", "x.json is an array of 2 elements, must be an object", read);
}

TEST(CheckedJson, RefusesWhatIsNoJson) {
  expect_refused("", "x.json is not JSON (byte 1)", parse);
  expect_refused("{\"a\": ", "x.json is not JSON (byte 7)", parse);
  expect_refused("{\"a\": \"\xff\"}", "x.json is not JSON", parse);
  expect_refused("[1e999]", "x.json holds a number that is too large", parse);
}

TEST(CheckedJson, RefusesAFieldThatIsThereTwice) {
  expect_refused(R"({"n": 1, "n": 2})", "x.json: field \"n\" is there twice", parse);
  expect_refused(R"([{"a": {"n": 1, "m": {"n": 1}, "n": 2}}])", "field \"n\" is there twice",
                 parse);
  EXPECT_NO_THROW(JsonDocument(R"({"n": {"n": 1}, "m": [{"n": 1}, {"n": 2}]})", source()));
}

TEST(CheckedJson, RefusesDeepNestingOfAnyDepth) {
  for (const std::size_t depth : {33, 1000, 10'000'000}) {
    expect_refused(std::string(depth, '['), "nested more than 32 deep", parse);
    std::string objects;
    for (std::size_t i = 0; i < std::min<std::size_t>(depth, 1000); ++i) {
      objects += "{\"a\":";
    }
    expect_refused(objects, "nested more than 32 deep", parse);
  }
  EXPECT_NO_THROW(JsonDocument(std::string(32, '[') + std::string(32, ']'), source()));
}

TEST(CheckedJson, RefusesNamesThatLeaveTheDirectory) {
  for (const std::string name :
       {"", ".", "..", "../x", "/etc/passwd", "a/b", "a/", "x\\u0000.onnx", "\\u0000"}) {
    expect_refused("[\"" + name + "\"]", "must be the plain name of a file in the same directory",
                   [](const JsonValue& root) { (void)root.elements()[0].file_name(); });
  }
  for (const std::string name : {"x", "...", ".x", "a b", "\xc3\xa9.onnx"}) {
    const JsonDocument document("[\"" + name + "\"]", source());
    EXPECT_EQ(document.root().elements()[0].file_name(), name);
  }
}

TEST(CheckedJson, RefusesDigestsOfAnotherForm) {
  for (const std::string digest : {"", "12", "12345", "12F4", "12g4", "0x12", " 123"}) {
    expect_refused("[\"" + digest + "\"]", "must be 4 hexadecimal digits",
                   [](const JsonValue& root) { (void)root.elements()[0].hex_digest(4); });
  }
}

TEST(CheckedJson, RefusesOtherTextsAndFieldsThanItKnows) {
  constexpr std::array<std::string_view, 2> kKnown{"a", "b"};
  const auto text = [&](const JsonValue& root) { (void)root.field("a").text_of(kKnown); };
  expect_refused(R"({"a": "c"})", "field \"a\" is \"c\", must be a, b", text);
  expect_refused(R"({"a": 1})", "field \"a\" is 1, must be a text", text);
  const auto fields = [&](const JsonValue& root) { root.only_fields(kKnown); };
  expect_refused(R"({"a": 1, "c": 2})", "there is no field \"c\"", fields);
  expect_refused("7", "x.json is 7, must be an object", fields);
}

TEST(CheckedJson, ShowsTextsSoThatTheyFitAMessage) {
  EXPECT_EQ(in_quotes("plain"), "\"plain\"");
  EXPECT_EQ(in_quotes(std::string_view("a\0\n\x1b[31m\xc3\xa9\xff", 11)),
            "\"a\\u0000\\n\\u001b[31m\\u00e9\\ufffd\"");
  EXPECT_EQ(in_quotes(std::string(100, 'x')), "\"" + std::string(80, 'x') + "\"...");
}

TEST(CheckedJson, ShowsLittleOfWhatIsLong) {
  try {
    const JsonDocument document("[\"" + std::string(1'000'000, 'x') + "\"]", source());
    (void)document.root().elements()[0].integer(0, 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_LT(std::string(error.what()).size(), 300U);
  }
}

}  // namespace
}  // namespace kvcache
