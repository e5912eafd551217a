// SPDX-License-Identifier: Apache-2.0
#include "ops/regex.h"

#include <gtest/gtest.h>

#include <string>

namespace redline {
namespace {

bool matches(std::string_view pattern, std::string_view text) {
  Result<Regex> regex = Regex::compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status().to_string();
  return regex.ok() && regex->full_match(text);
}

TEST(Regex, MatchesTheWholeText) {
  EXPECT_TRUE(matches("ab", "ab"));
  EXPECT_FALSE(matches("ab", "abc"));
  EXPECT_FALSE(matches("ab", "xab"));
  EXPECT_TRUE(matches("", ""));
  EXPECT_FALSE(matches("", "a"));
  EXPECT_TRUE(matches("a|bc", "bc"));
  EXPECT_FALSE(matches("a|bc", "ac"));
  EXPECT_TRUE(matches("a|", ""));
}

TEST(Regex, Repetitions) {
  EXPECT_TRUE(matches("a*", ""));
  EXPECT_TRUE(matches("a+b?", "aaa"));
  EXPECT_FALSE(matches("a+", ""));
  EXPECT_TRUE(matches("(ab){2,3}", "ababab"));
  EXPECT_FALSE(matches("(ab){2,3}", "ab"));
  EXPECT_FALSE(matches("(ab){2,3}", "abababab"));
  EXPECT_TRUE(matches("a{2,}", "aaaaa"));
  EXPECT_TRUE(matches("a{0}", ""));
  EXPECT_TRUE(matches("a.*?c", "abcabc"));
  EXPECT_TRUE(matches("a{x}", "a{x}"));
  EXPECT_TRUE(matches("(a*)*", "aaa"));
}

TEST(Regex, Classes) {
  EXPECT_TRUE(matches("[a-c_-]+", "ab_-c"));
  EXPECT_TRUE(matches("[^a-c]", "d"));
  EXPECT_FALSE(matches("[^a-c]", "b"));
  EXPECT_TRUE(matches("[]a]+", "]a"));
  EXPECT_TRUE(matches("\\d+\\s\\w+\\S", "12 ab_!"));
  EXPECT_TRUE(matches("[[:alpha:][:digit:]]+", "aZ9"));
  EXPECT_FALSE(matches("[[:^alpha:]]", "a"));
  EXPECT_TRUE(matches("[\\d\\-x]+", "1-x"));
  EXPECT_FALSE(matches(".", "\n"));
  EXPECT_TRUE(matches("(?s).", "\n"));
}

TEST(Regex, CodePointsAreOneCharacter) {
  EXPECT_TRUE(matches(".", "\xC3\xBC"));
  EXPECT_TRUE(matches("[à-ü]{2}", "éü"));
  EXPECT_TRUE(matches("\\x{65E5}.", "日本"));
  EXPECT_TRUE(matches(".", "\xFF"));  // a broken byte stands for itself
}

TEST(Regex, Assertions) {
  EXPECT_TRUE(matches("^a$", "a"));
  EXPECT_FALSE(matches("a^b", "ab"));
  EXPECT_FALSE(matches("a$\\nb", "a\nb"));
  EXPECT_TRUE(matches("(?m)a$\\n^b", "a\nb"));
  EXPECT_TRUE(matches("ab\\b.cd", "ab cd"));
  EXPECT_FALSE(matches("a\\bb", "ab"));
  EXPECT_TRUE(matches("a\\Bb", "ab"));
}

TEST(Regex, Groups) {
  EXPECT_TRUE(matches("(?i)ab", "aB"));
  EXPECT_FALSE(matches("(?i:a)b", "AB"));
  EXPECT_TRUE(matches("(?:a|(?P<n>b))+", "abba"));
  EXPECT_FALSE(matches("((?i)a)b", "AB"));
  EXPECT_TRUE(matches("\\Qa.b*\\E+", "a.b***"));
}

TEST(Regex, BadPatternsAreErrors) {
  for (const char* pattern :
       {"(",   ")",       "a)",      "[",           "[a",    "[b-a]",      "*",
        "a**", "a{2}{3}", "a{1001}", "a{3,2}",      "\\",    "\\1",        "\\p{L}",
        "\\y", "(?<n",    "(?x)",    "\\x{110000}", "\\xg0", "[[:none:]]", "((a{900}){900}){9}"}) {
    EXPECT_FALSE(Regex::compile(pattern).ok()) << pattern;
  }
  EXPECT_FALSE(Regex::compile(std::string(10'000, '(')).ok());
}

TEST(Regex, TakesLinearTime) {
  std::string text(20'000, 'a');
  EXPECT_FALSE(matches("(a*)*(a*)*(a|aa)+b", text));
}

}  // namespace
}  // namespace redline
