#include "support/postgresql_server.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace nibble::testing {
namespace fs = std::filesystem;
namespace {

constexpr const char* kUser = "nibble";

fs::path find_programs() {
  const char* given = std::getenv("NIBBLE_POSTGRESQL_BIN");
  if (given != nullptr) return fs::exists(fs::path(given) / "initdb") ? given : fs::path();
  fs::path newest;
  std::error_code error;
  for (fs::directory_iterator entry("/usr/lib/postgresql", error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path programs = entry->path() / "bin";
    if (fs::exists(programs / "initdb") && programs > newest) newest = programs;
  }
  return newest;
}

// Runs the program as the user postgres where this is root; it ends with this process.
pid_t spawn(const std::vector<std::string>& words, const fs::path& folder, const passwd* user) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const std::string log = (folder / "log").string();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  if (user != nullptr &&
      (initgroups(user->pw_name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)) {
    _exit(126);
  }
  prctl(PR_SET_PDEATHSIG, SIGINT);  // after setuid(), which clears it
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  if (chdir(folder.c_str()) != 0) _exit(125);
  execv(argv[0], argv.data());
  _exit(127);
}

int run(const std::vector<std::string>& words, const fs::path& folder, const passwd* user) {
  int status = 0;
  waitpid(spawn(words, folder, user), &status, 0);
  return status;
}

const passwd* server_user() {
  if (geteuid() != 0) return nullptr;
  const passwd* user = getpwnam("postgres");
  if (user == nullptr) throw std::runtime_error("there is no user 'postgres' to run the server as");
  return user;
}

}  // namespace

PostgresqlServer* PostgresqlServer::get() {
  static const std::unique_ptr<PostgresqlServer> server = [] {
    const fs::path programs = find_programs();
    return std::unique_ptr<PostgresqlServer>(programs.empty() ? nullptr : new PostgresqlServer(programs));
  }();
  return server.get();
}

PostgresqlServer::PostgresqlServer(fs::path programs) : programs_(std::move(programs)), owner_(getpid()) {
  // Not a folder of the build: a socket's path is short, and postgres must be able to reach it.
  std::string name = "/tmp/nibble_postgresql_XXXXXX";
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a folder in /tmp");
  folder_ = name;
  const passwd* user = server_user();
  std::ofstream(folder_ / "password") << password() << "\n";
  if (user != nullptr && (chown(name.c_str(), user->pw_uid, user->pw_gid) != 0 ||
                          chown((folder_ / "password").c_str(), user->pw_uid, user->pw_gid) != 0)) {
    throw std::runtime_error("cannot give the server's folder to postgres");
  }
  const int status =
      run({programs_ / "initdb", "-D", folder_ / "data", "-U", kUser, "--auth-local=trust", "--auth-host=scram-sha-256",
           "--pwfile=" + (folder_ / "password").string(), "-E", "UTF8", "--no-locale", "--no-sync"},
          folder_, user);
  if (status != 0) throw std::runtime_error("initdb failed; see " + (folder_ / "log").string());
  start();
}

void PostgresqlServer::start() {
  const passwd* user = server_user();
  pid_ = spawn({programs_ / "postgres", "-D", folder_ / "data", "-k", folder_, "-p", std::to_string(port()), "-c",
                "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=80"},
               folder_, user);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(5);
  while (std::chrono::steady_clock::now() < give_up) {
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      break;
    }
    if (run({programs_ / "pg_isready", "-q", "-h", folder_, "-p", std::to_string(port())}, folder_, user) == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  throw std::runtime_error("the server does not start; see " + (folder_ / "log").string());
}

void PostgresqlServer::stop() {
  if (pid_ <= 0) return;
  kill(pid_, SIGINT);  // a fast shutdown: connections are cut
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

PostgresqlServer::~PostgresqlServer() {
  if (getpid() != owner_) return;  // a child of a test
  stop();
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

std::string PostgresqlServer::url(const std::string& study) const {
  return "postgresql://" + std::string(kUser) + "@/postgres?host=" + folder_.string() +
         "&port=" + std::to_string(port()) + "&study=" + study;
}

std::string PostgresqlServer::loopback_url(const std::string& password, const std::string& study) const {
  std::string escaped;
  for (const char c : password) escaped += c == ' ' ? std::string("%20") : std::string(1, c);
  return "postgresql://" + std::string(kUser) + ":" + escaped + "@127.0.0.1:" + std::to_string(port()) +
         "/postgres?study=" + study;
}

}  // namespace nibble::testing
