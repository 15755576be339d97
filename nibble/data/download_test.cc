#include "nibble/data/download.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <mutex>
#include <thread>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/data/checksum.h"
#include "nibble/data/sample_files.h"
#include "tests/support/golden.h"
#include "tests/support/reserved_port.h"

namespace nibble::data {
namespace {
namespace fs = std::filesystem;

const std::string kBody = samples::noise(200000);

// A server on this machine that answers as the test tells it.
class LoopbackServer {
 public:
  // Answers GET requests; gets the request's Range header, or "".
  using Answer = std::function<void(const std::string& range, httplib::Response&)>;

  explicit LoopbackServer(Answer answer) {
    server_.Get("/.*", [this, answer](const httplib::Request& request, httplib::Response& response) {
      {
        const std::lock_guard lock(mutex_);
        ranges_.push_back(request.get_header_value("Range"));
      }
      // Removed, so that the library does not cut the body by itself.
      const_cast<httplib::Request&>(request).ranges.clear();
      answer(ranges_.back(), response);
    });
    // The other side may stand still for long where other programs have the machine.
    server_.set_read_timeout(std::chrono::minutes(5));
    server_.set_write_timeout(std::chrono::minutes(5));
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ~LoopbackServer() {
    server_.stop();
    thread_.join();
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/file"; }
  std::vector<std::string> ranges() {
    const std::lock_guard lock(mutex_);
    return ranges_;
  }

 private:
  httplib::Server server_;
  std::mutex mutex_;
  std::vector<std::string> ranges_;  // of each request
  int port_ = 0;
  std::thread thread_;
};

// Announces the rest of `body` from `from` on, and closes the connection after `sent_bytes`.
void send_part(const std::string& body, size_t from, size_t sent_bytes, httplib::Response& response) {
  const size_t length = body.size() - from;
  if (from > 0) {
    response.status = 206;
    response.set_header("Content-Range", "bytes " + std::to_string(from) + "-" + std::to_string(body.size() - 1) + "/" +
                                             std::to_string(body.size()));
  }
  response.set_content_provider(length, "application/octet-stream",
                                [&body, from, sent_bytes](size_t offset, size_t count, httplib::DataSink& sink) {
                                  if (offset >= sent_bytes) return false;
                                  return sink.write(body.data() + from + offset, std::min(count, sent_bytes - offset));
                                });
}

size_t start_of(const std::string& range) { return range.empty() ? 0 : std::stoul(range.substr(6)); }  // "bytes=9-"

class Download : public ::testing::Test {
 protected:
  Download() : folder_(testing::scratch_dir("download")) {
    write_file(folder_ / "reference", kBody);
    sha256_ = sha256_of_file(folder_ / "reference");
  }
  DownloadOptions options(const LoopbackServer& server) const {
    DownloadOptions options;
    options.urls = {server.url()};
    options.target = target();
    options.accepted = {{kBody.size(), sha256_}};
    options.allow_http = true;
    options.retry_wait_ms = 1;
    options.connect_timeout_s = options.stall_timeout_s = 300;  // as the server's
    return options;
  }
  fs::path target() const { return folder_ / "file.bin"; }
  fs::path part() const { return folder_ / "file.bin.part"; }

  // The message of the failure; nothing may be left behind.
  std::string failure(const DownloadOptions& options) const {
    try {
      download_file(options);
    } catch (const IoError& error) {
      EXPECT_FALSE(fs::exists(target()));
      return error.what();
    }
    return "succeeded";
  }
  void expect_complete() const {
    EXPECT_EQ(read_file(target()), kBody);
    EXPECT_FALSE(fs::exists(part()));
  }

  fs::path folder_;
  std::string sha256_;
};

TEST_F(Download, AGoodAnswerGetsTheTargetsName) {
  LoopbackServer server(
      [](const std::string&, httplib::Response& response) { response.set_content(kBody, "application/octet-stream"); });
  uint64_t last = 0;
  DownloadOptions wanted = options(server);
  wanted.progress = [&](std::string_view file, uint64_t done, uint64_t total) {
    EXPECT_EQ(file, "file.bin");
    EXPECT_EQ(total, kBody.size());
    EXPECT_GE(done, last);
    last = done;
  };
  download_file(wanted);
  expect_complete();
  EXPECT_EQ(last, kBody.size());
}

TEST_F(Download, ACutOffTransferGoesOnWhereItStopped) {
  LoopbackServer server([](const std::string& range, httplib::Response& response) {
    send_part(kBody, start_of(range), 70000, response);
  });
  download_file(options(server));
  expect_complete();
  EXPECT_EQ(server.ranges(), (std::vector<std::string>{"", "bytes=70000-", "bytes=140000-"}));
}

TEST_F(Download, APartOfAnEarlierRunIsUsed) {
  LoopbackServer server([](const std::string& range, httplib::Response& response) {
    send_part(kBody, start_of(range), kBody.size(), response);
  });
  write_file(part(), kBody.substr(0, 123456));
  download_file(options(server));
  expect_complete();
  EXPECT_EQ(server.ranges(), (std::vector<std::string>{"bytes=123456-"}));
}

TEST_F(Download, ACompletePartNeedsNoServer) {
  write_file(part(), kBody);
  LoopbackServer server([](const std::string&, httplib::Response& response) { response.status = 500; });
  download_file(options(server));
  expect_complete();
  EXPECT_TRUE(server.ranges().empty());
}

TEST_F(Download, APartOfAnotherFileIsFetchedAnew) {
  LoopbackServer server([](const std::string& range, httplib::Response& response) {
    send_part(kBody, start_of(range), kBody.size(), response);
  });
  write_file(part(), samples::noise(5000, 99));
  download_file(options(server));
  expect_complete();
  EXPECT_EQ(server.ranges(), (std::vector<std::string>{"bytes=5000-", ""}));
}

TEST_F(Download, AServerWithoutRangeSendsEverythingAgain) {
  LoopbackServer server([](const std::string& range, httplib::Response& response) {
    send_part(kBody, 0, range.empty() ? 1000 : kBody.size(), response);
  });
  download_file(options(server));
  expect_complete();
  EXPECT_EQ(server.ranges(), (std::vector<std::string>{"", "bytes=1000-"}));
}

TEST_F(Download, ARefusedRangeBeginsAnew) {
  LoopbackServer server([](const std::string& range, httplib::Response& response) {
    if (range.empty()) return send_part(kBody, 0, kBody.size(), response);
    response.status = 416;
  });
  write_file(part(), samples::noise(5000, 99));
  download_file(options(server));
  expect_complete();
}

TEST_F(Download, ABusyServerIsAskedAgain) {
  int requests = 0;
  LoopbackServer server([&](const std::string&, httplib::Response& response) {
    if (++requests < 3) {
      response.status = 503;
    } else {
      response.set_content(kBody, "application/octet-stream");
    }
  });
  download_file(options(server));
  expect_complete();
}

TEST_F(Download, ASecondUrlServesWhereTheFirstFails) {
  LoopbackServer bad([](const std::string&, httplib::Response& response) { response.status = 404; });
  LoopbackServer good(
      [](const std::string&, httplib::Response& response) { response.set_content(kBody, "application/octet-stream"); });
  DownloadOptions wanted = options(bad);
  wanted.urls.push_back(good.url());
  download_file(wanted);
  expect_complete();
}

TEST_F(Download, CorruptedBytesAreRefusedAndNothingIsKept) {
  std::string corrupted = kBody;
  corrupted[777] ^= 1;
  LoopbackServer server([&](const std::string&, httplib::Response& response) {
    response.set_content(corrupted, "application/octet-stream");
  });
  const std::string message = failure(options(server));
  EXPECT_NE(message.find("its SHA-256 is "), std::string::npos) << message;
  EXPECT_NE(message.find(sha256_ + " is expected"), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(part()));
  EXPECT_EQ(server.ranges().size(), 1u);
}

struct WrongAnswer {
  const char* name;
  int status;
  size_t bytes;
  const char* message;
  size_t requests;
};

class WrongAnswers : public Download, public ::testing::WithParamInterface<WrongAnswer> {};
TEST_P(WrongAnswers, AreSentencesAndLeaveNothing) {
  const WrongAnswer& c = GetParam();
  LoopbackServer server([&](const std::string&, httplib::Response& response) {
    response.status = c.status;
    response.set_content(samples::noise(c.bytes), "application/octet-stream");
  });
  const std::string message = failure(options(server));
  EXPECT_NE(message.find(c.message), std::string::npos) << message;
  EXPECT_NE(message.find(server.url()), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(part()));
  EXPECT_EQ(server.ranges().size(), c.requests);
}
INSTANTIATE_TEST_SUITE_P(
    Rows, WrongAnswers,
    ::testing::Values(WrongAnswer{"NotFound", 404, 9, "the server answered 404", 1},
                      WrongAnswer{"Forbidden", 403, 9, "the server answered 403", 1},
                      WrongAnswer{"ServerError", 500, 9, "the server answered 500 (4 attempts)", 4},
                      WrongAnswer{"TooShort", 200, 1000, "it has 1000 bytes, but 200000 are expected", 1},
                      WrongAnswer{"TooLong", 200, 300000, "longer than the expected 200000 bytes", 1},
                      WrongAnswer{"Empty", 200, 0, "it has 0 bytes", 1}),
    [](const auto& row) { return row.param.name; });

TEST_F(Download, AlwaysCutOffGivesUpAndKeepsThePart) {
  LoopbackServer server([](const std::string& range, httplib::Response& response) {
    send_part(kBody, start_of(range), 10000, response);
  });
  const std::string message = failure(options(server));
  EXPECT_NE(message.find("cut off after 40000 bytes (4 attempts)"), std::string::npos) << message;
  EXPECT_EQ(read_file(part()), kBody.substr(0, 40000));
}

TEST_F(Download, StopKeepsThePart) {
  LoopbackServer server([](const std::string& range, httplib::Response& response) {
    send_part(kBody, start_of(range), 50000, response);
  });
  const std::atomic<bool> stop = true;
  DownloadOptions wanted = options(server);
  wanted.stop = &stop;
  EXPECT_NE(failure(wanted).find("was stopped"), std::string::npos);
}

TEST_F(Download, NoConnectionFailsFast) {
  const testing::ReservedPort nobodys;
  DownloadOptions wanted;
  wanted.urls = {"http://127.0.0.1:" + std::to_string(nobodys.number()) + "/file"};
  wanted.target = target();
  wanted.accepted = {{kBody.size(), sha256_}};
  wanted.allow_http = true;
  wanted.retry_wait_ms = 600'000;  // one more attempt, or a connection that is waited for, takes minutes
  wanted.connect_timeout_s = 600;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_NE(failure(wanted).find("could not be fetched"), std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(5));
}

TEST_F(Download, PlainHttpIsRefusedUnlessAllowed) {
  LoopbackServer server(
      [](const std::string&, httplib::Response& response) { response.set_content(kBody, "application/octet-stream"); });
  DownloadOptions wanted = options(server);
  wanted.allow_http = false;
  EXPECT_NE(failure(wanted), "succeeded");
  EXPECT_TRUE(server.ranges().empty());
}

TEST_F(Download, AFolderThatIsAbsentIsASentence) {
  LoopbackServer server([](const std::string&, httplib::Response& response) { response.status = 404; });
  DownloadOptions wanted = options(server);
  wanted.target = folder_ / "absent" / "file.bin";
  EXPECT_NE(failure(wanted).find("No such file or directory"), std::string::npos);
}

// The file-size limit of the process stands for a full disk: write() fails half-way.
TEST_F(Download, ADiskThatTakesNoMoreIsASentenceAndGetsItsRoomBack) {
  LoopbackServer server(
      [](const std::string&, httplib::Response& response) { response.set_content(kBody, "application/octet-stream"); });
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 50000;
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = failure(options(server));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find("cannot write"), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(part()));
}

TEST_F(Download, TwoThreadsFetchAFileOnce) {
  LoopbackServer server([](const std::string&, httplib::Response& response) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    response.set_content(kBody, "application/octet-stream");
  });
  std::thread other([&] { download_file(options(server)); });
  download_file(options(server));
  other.join();
  expect_complete();
  EXPECT_EQ(server.ranges().size(), 1u);
}

TEST(Sha256, OfPiecesIsThatOfTheWhole) {
  Sha256 sum;
  for (const std::string_view piece : {"a", "", "bc"}) sum.add(std::as_bytes(std::span(piece)));
  EXPECT_EQ(sum.digest(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256OfFile, KnownAnswers) {
  const fs::path file = testing::scratch_dir("sha256") / "file";
  write_file(file, "");
  EXPECT_EQ(sha256_of_file(file), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  write_file(file, "abc");
  EXPECT_EQ(sha256_of_file(file), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_THROW(sha256_of_file(file.parent_path() / "absent"), IoError);
}

}  // namespace
}  // namespace nibble::data
