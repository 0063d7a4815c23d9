#include "model/digest.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <vector>

#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache::model {
namespace {

TEST(Digest, IsTheCanonicalXxh3) {
  const test::TemporaryDirectory directory;
  const auto file = directory.path() / "abc";
  std::ofstream(file) << "abc";
  // `printf abc | xxhsum -H2`
  EXPECT_EQ(file_digest(file), "06b05ab6733a618578af5f94892f3950");
}

TEST(Digest, ReadsFilesLargerThanItsBuffer) {
  const test::TemporaryDirectory directory;
  const auto file = directory.path() / "zeros";
  std::ofstream(file) << std::string(3'000'001, 'z');
  const std::string whole = file_digest(file);
  std::ofstream(file, std::ios::app) << 'y';
  EXPECT_NE(file_digest(file), whole);
}

TEST(Digest, IsTheSameOfAFileThatIsBeingMapped) {
  const test::TemporaryDirectory directory;
  const auto path = directory.path() / "weights";
  const std::vector<char> bytes(9'000'001, 'z');
  std::ofstream(path).write(bytes.data(), static_cast<std::streamsize>(bytes.size())) << 'y';
  EXPECT_EQ(digest_of(weights::WeightFile(path, weights::WeightSource::held, 1)),
            file_digest(path));
}

TEST(Digest, NamesAFileThatCannotBeRead) {
  test::expect_error(ErrorCode::model_not_found, "cannot read /no/such/file",
                     [] { (void)file_digest("/no/such/file"); });
}

}  // namespace
}  // namespace kvcache::model
