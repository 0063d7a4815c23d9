#include "report/html/markup.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace kvcache::report::html {
namespace {

constexpr const char* kReplaced = "\xEF\xBF\xBD";

TEST(Markup, TextIsShownAndNotObeyed) {
  EXPECT_EQ(text("<b a=\"1\" c='2'>&amp;</b>").html(),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;&lt;/b&gt;");
}

TEST(Markup, AttributesCannotBeLeft) {
  EXPECT_EQ(element("a", {{"title", "\" onclick=\"x()"}}, text("t")).html(),
            "<a title=\"&quot; onclick=&quot;x()\">t</a>");
}

TEST(Markup, ElementsHoldTextOrMarkup) {
  EXPECT_EQ(element("p", "a < b").html(), "<p>a &lt; b</p>");
  EXPECT_EQ(element("p", element("b", "x")).html(), "<p><b>x</b></p>");
  EXPECT_EQ(element("meta", {{"charset", "utf-8"}}).html(), "<meta charset=\"utf-8\">");
}

TEST(Markup, KeepsCharactersAndReplacesWhatIsNone) {
  EXPECT_EQ(text("ä € 😀\n\t").html(), "ä € 😀\n\t");
  EXPECT_EQ(text("\xC3").html(), kReplaced);                               // cut off
  EXPECT_EQ(text("\xC0\xAF").html(), std::string(kReplaced) + kReplaced);  // not the shortest form
  EXPECT_EQ(text("\xED\xA0\x80").html().substr(0, 3), kReplaced);          // a surrogate
  EXPECT_EQ(text("\xF4\x90\x80\x80").html().substr(0, 3), kReplaced);      // beyond Unicode
  EXPECT_EQ(text(std::string_view("a\0b", 3)).html(), std::string("a") + kReplaced + "b");
  EXPECT_EQ(text("\xE2\x80\xAE").html(), kReplaced);  // U+202E turns what follows around
}

TEST(Markup, NoBytesMakeATag) {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 12, ' ');
    for (char& byte : bytes) {
      byte = random() % 3 == 0 ? "<>&\"'"[random() % 5] : static_cast<char>(random());
    }
    const std::string html = text(bytes).html();
    EXPECT_EQ(html.find_first_of("<>\"'"), std::string::npos);
  }
}

}  // namespace
}  // namespace kvcache::report::html
