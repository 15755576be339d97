#include "nibble/search/study_url.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"

namespace nibble::search {
namespace {

TEST(StudyUrl, TellsStudyServerAndWhatPeopleMaySee) {
  struct Row {
    const char *url, *study, *display;
  };
  for (const Row& row :
       {Row{"postgresql://db.example/nets", "study", "postgresql://db.example/nets?study=study"},
        Row{"postgresql://ann:secret@db.example:5433/nets?study=mnist_11nj", "mnist_11nj",
            "postgresql://ann@db.example:5433/nets?study=mnist_11nj"},
        Row{"postgres://ann@/nets?host=/run/pg&study=a-1&sslmode=require", "a-1",
            "postgres://ann@/nets?host=/run/pg&sslmode=require&study=a-1"},
        Row{"postgresql://a:5432,b:5433/nets", "study", "postgresql://a:5432,b:5433/nets?study=study"},
        Row{"postgresql://h/nets?password=secret&user=ann", "study", "postgresql://h/nets?user=ann&study=study"}}) {
    const ServerUrl url = parse_server_url(row.url);
    EXPECT_EQ(url.study, row.study) << row.url;
    EXPECT_EQ(url.display, row.display) << row.url;
    EXPECT_EQ(url.connection.find("study="), std::string::npos) << url.connection;
    EXPECT_NE(url.connection.find("connect_timeout=10"), std::string::npos) << url.connection;
  }
}

TEST(StudyUrl, WaitsThatAreGivenStay) {
  const std::string connection = parse_server_url("postgresql://h/nets?connect_timeout=3").connection;
  EXPECT_NE(connection.find("connect_timeout=3&"), std::string::npos) << connection;
  EXPECT_EQ(connection.find("connect_timeout=10"), std::string::npos) << connection;
}

TEST(StudyUrl, AnotherStudyOfTheSameServer) {
  EXPECT_EQ(with_study("postgresql://h/nets", "b"), "postgresql://h/nets?study=b");
  EXPECT_EQ(with_study("postgresql://h/nets?study=a&user=ann", "b"), "postgresql://h/nets?user=ann&study=b");
}

TEST(StudyUrl, WhatIsNoUrlIsRefused) {
  for (const char* url : {"postgresql:/h/nets", "postgresql:h", "postgres:", "postgresql://h/nets?study=",
                          "postgresql://h/nets?study=two%20words", "postgresql://h/nets?study=a\"b",
                          "postgresql://h/nets?study=01234567890123456789012345678901234567890123456789x"}) {
    EXPECT_TRUE(is_server_url(url)) << url;
    EXPECT_THROW(parse_server_url(url), InvalidArgument) << url;
  }
  for (const char* url : {"", "sqlite:", "a\"b.db"}) EXPECT_THROW(sqlite_path(url), InvalidArgument) << url;
}

TEST(StudyUrl, OtherDatabasesAreRefusedWithThoseThatAreKnown) {
  for (const char* url : {"mysql://ann:secret@db.example/nets", "mysql+pymysql://ann:secret@h/nets?study=a",
                          "PostgreSQL://h/nets", "redis://h", "http://h/study.db?password=secret"}) {
    try {
      sqlite_path(url);
      ADD_FAILURE() << "no error for " << url;
    } catch (const InvalidArgument& error) {
      const std::string sentence = error.what(), scheme = std::string(url).substr(0, std::string(url).find("://"));
      for (const std::string& word : {scheme, std::string("sqlite:PATH"), std::string("postgresql://USER@HOST")}) {
        EXPECT_NE(sentence.find(word), std::string::npos) << sentence;
      }
      EXPECT_EQ(sentence.find("secret"), std::string::npos) << sentence;
    }
  }
  for (const char* path : {"a/b://c.db", "://x.db", "odd name://x.db"}) EXPECT_EQ(sqlite_path(path), path);
}

TEST(StudyUrl, ThePasswordIsShownToNobody) {
  const std::pair<const char*, const char*> rows[] = {
      {"postgresql://ann:secret@h/nets?study=a", "postgresql://ann@h/nets?study=a"},
      {"postgresql://ann@[::1]:5433/nets", "postgresql://ann@[::1]:5433/nets"},
      {"mysql://ann:secret@h/nets", "mysql://ann@h/nets"},
      {"postgresql://h/nets?password=secret&study=a", "postgresql://h/nets?study=a"},
      {"postgresql://ann:se:c@ret@h/nets", "postgresql://ann@h/nets"},
      {"out/study.db", "out/study.db"}};
  for (const auto& [url, shown] : rows) EXPECT_EQ(without_password(url), shown);
  for (const char* url : {"postgresql:/ann:secret@h/nets", "postgresql:ann:secret@h/nets", "ann:secret@h/nets"}) {
    EXPECT_EQ(without_password(url).find("secret"), std::string::npos) << url;
  }
  try {
    parse_server_url("postgresql:/ann:secret@h/nets?password=secret");
    ADD_FAILURE() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos) << error.what();
  }
}

TEST(StudyUrl, FilesAreNoServers) {
  for (const char* path : {"study.db", "/a/postgresql/study.db", "sqlite:postgresql.db"}) {
    EXPECT_FALSE(is_server_url(path)) << path;
  }
  EXPECT_EQ(sqlite_path("sqlite:a/b.db"), "a/b.db");
}

}  // namespace
}  // namespace nibble::search
