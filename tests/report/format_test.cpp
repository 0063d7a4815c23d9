#include "report/format.hpp"

#include <gtest/gtest.h>

#include "report/table.hpp"

namespace kvcache::report {
namespace {

TEST(FormatBytes, UsesDecimalUnits) {
  EXPECT_EQ(format_bytes(0), "0 bytes");
  EXPECT_EQ(format_bytes(999), "999 bytes");
  EXPECT_EQ(format_bytes(36'864), "36.86 kB");
  EXPECT_EQ(format_bytes(75'497'472), "75.50 MB");  // GPT-2's cache
  EXPECT_EQ(format_bytes(1'500'000'000), "1.50 GB");
}

TEST(FormatBytes, NeverPrintsAThousandOfAUnit) {
  EXPECT_EQ(format_bytes(999'994), "999.99 kB");
  EXPECT_EQ(format_bytes(999'999), "1.00 MB");
}

TEST(FormatBandwidth, IsInGigabytes) { EXPECT_EQ(format_bandwidth(32.46e9), "32.5 GB/s"); }

TEST(Table, IsPaddedMarkdown) {
  Table table({"New tokens", "Speedup"});
  table.add_row({"16", "1.25x"});
  table.add_row({"1024", "12.00x"});
  EXPECT_EQ(table.to_string(),
            "| New tokens | Speedup |\n"
            "| ---------- | ------: |\n"
            "| 16         |   1.25x |\n"
            "| 1024       |  12.00x |\n");
}

TEST(Table, CountsCharactersNotBytes) {
  Table table({"÷", "×"});
  table.add_row({"a", "÷÷÷÷"});
  EXPECT_EQ(table.to_string(),
            "| ÷   |    × |\n"
            "| --- | ---: |\n"
            "| a   | ÷÷÷÷ |\n");
}

}  // namespace
}  // namespace kvcache::report
