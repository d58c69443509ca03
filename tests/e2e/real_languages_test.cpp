// Language runtimes with live state: Python threads, Node's event loop and worker, a JVM that compiles and
// collects garbage all the while. Each program keeps to the workloads' protocol.
#include "tests/e2e/proc.h"
#include "tests/e2e/real_program.h"

namespace godwit::e2e {

namespace {

constexpr const char* kPythonProgram = R"(
import hashlib, os, queue, sys, threading, time

directory = sys.argv[1]
path = lambda name: os.path.join(directory, name)
failures = []
stop = threading.Event()

# A chain of hashes that anybody can compute again, made by one thread and checked by another.
work, done = queue.Queue(maxsize=100), []
def produce():
    value = b'seed'
    for number in range(10**9):
        if stop.is_set():
            break
        value = hashlib.sha256(value).digest()
        work.put((number, value))
        if number > 1000:
            time.sleep(0.001)
    work.put(None)
def consume():
    value = b'seed'
    while (item := work.get()) is not None:
        value = hashlib.sha256(value).digest()
        if item[1] != value:
            failures.append('hash %d' % item[0])
        done.append(item[0])

local = threading.local()
woken = threading.Condition()
go = False
def waiter(number):
    local.number = number
    generator = (n * number for n in range(1000000))
    first = [next(generator) for _ in range(10)]
    with woken:
        while not go:
            woken.wait()
    if local.number != number or next(generator) != 10 * number or first[9] != 9 * number:
        failures.append('thread %d' % number)

threads = [threading.Thread(target=produce), threading.Thread(target=consume)]
threads += [threading.Thread(target=waiter, args=(n,), name='waiter %d' % n) for n in range(1, 9)]
for thread in threads:
    thread.start()
table = {('key', n): [n, str(n) * 3, {n}] for n in range(100000)}
identity = id(table)
while len(done) < 500:
    time.sleep(0.01)
os.mkdir(path('ready'))  # opens no descriptor
while not os.path.exists(path('go')):
    time.sleep(0.005)
before = len(done)
while len(done) < before + 50:
    time.sleep(0.005)
if any(table[('key', n)] != [n, str(n) * 3, {n}] for n in range(100000)) or id(table) != identity:
    failures.append('table')
with woken:
    go = True
    woken.notify_all()
stop.set()
for thread in threads:
    thread.join()
if done != list(range(len(done))):
    failures.append('order')
open(path('failures' if failures else 'result'), 'w').write('\n'.join(failures) or 'pass\n')
sys.exit(1 if failures else 0)
)";

constexpr const char* kNodeProgram = R"(
const fs = require('fs'), path = require('path'), crypto = require('crypto');
const { Worker, isMainThread, parentPort } = require('worker_threads');
if (!isMainThread) {
  parentPort.on('message', (n) => parentPort.postMessage(n * n));
} else {
  const file = (name) => path.join(process.argv[2], name);
  const failures = [];
  const map = new Map();
  for (let i = 0; i < 100000; i++) map.set('key' + i, { i, text: 'x'.repeat(i % 50) });
  const buffer = crypto.createHash('sha256').update('seed').digest();
  let ticks = 0, answers = 0, asked = 0;
  setInterval(() => ticks++, 5);
  const worker = new Worker(__filename);
  worker.on('message', (square) => { answers++; if (square !== answers * answers) failures.push('worker'); });
  setInterval(() => worker.postMessage(++asked), 10);
  let resolveLater;
  const promise = new Promise((resolve) => { resolveLater = resolve; });
  const generator = (function* () { for (let i = 0; ; i++) yield i * 3; })();
  for (let i = 0; i < 10; i++) generator.next();
  // Work that the optimizing compiler takes up.
  const fibonacci = (n) => (n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2));
  setInterval(() => { if (fibonacci(15) !== 610) failures.push('fibonacci'); }, 3);
  const finish = async () => {
    const before = ticks, answersBefore = answers;
    await new Promise((resolve) => setTimeout(resolve, 200));
    if (ticks <= before) failures.push('timers');
    if (answers <= answersBefore) failures.push('answers of the worker');
    resolveLater(77);
    if (await promise !== 77) failures.push('promise');
    if (generator.next().value !== 30) failures.push('generator');
    for (let i = 0; i < 100000; i++) {
      const entry = map.get('key' + i);
      if (!entry || entry.i !== i || entry.text.length !== i % 50) { failures.push('map ' + i); break; }
    }
    if (!buffer.equals(crypto.createHash('sha256').update('seed').digest())) failures.push('buffer');
    const again = await fs.promises.readFile(__filename);
    if (again.length < 1000) failures.push('reading a file in the thread pool');
    fs.writeFileSync(file(failures.length ? 'failures' : 'result'), failures.join('\n') || 'pass\n');
    process.exit(failures.length ? 1 : 0);
  };
  setTimeout(() => fs.mkdirSync(file('ready')), 300);
  const poll = setInterval(() => { if (fs.existsSync(file('go'))) { clearInterval(poll); finish(); } }, 5);
}
)";

constexpr const char* kJavaProgram = R"(
import java.io.File;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class Busy {
    static volatile boolean stop;
    static final Queue<String> failures = new ConcurrentLinkedQueue<>();
    static final AtomicLong rounds = new AtomicLong();

    static long mix(long value, int times) {
        for (int i = 0; i < times; i++) {
            value ^= value << 13; value ^= value >>> 7; value ^= value << 17;
        }
        return value;
    }

    static void compute(long seed) {
        long wanted = mix(seed, 1000);
        while (!stop) {
            if (mix(seed, 1000) != wanted) failures.add("mix");
            rounds.incrementAndGet();
        }
    }

    static void litter() {
        Random random = new Random(1);
        Map<Integer, byte[]> kept = new HashMap<>();
        while (!stop) {
            int key = random.nextInt(2000);
            byte[] bytes = new byte[random.nextInt(4000) + 8];
            Arrays.fill(bytes, (byte) key);
            byte[] old = kept.put(key, bytes);
            if (old != null && (old[0] != (byte) key || old[old.length - 1] != (byte) key)) failures.add("garbage");
        }
    }

    public static void main(String[] arguments) throws Exception {
        Path directory = Paths.get(arguments[0]);
        List<Thread> threads = new ArrayList<>();
        threads.add(new Thread(() -> compute(12345)));
        threads.add(new Thread(() -> compute(987654321)));
        threads.add(new Thread(Busy::litter));
        for (Thread thread : threads) thread.start();
        ScheduledExecutorService timer = Executors.newScheduledThreadPool(2);
        AtomicInteger ticks = new AtomicInteger();
        timer.scheduleAtFixedRate(ticks::incrementAndGet, 5, 5, TimeUnit.MILLISECONDS);
        Map<String, Integer> table = new ConcurrentHashMap<>();
        for (int i = 0; i < 200000; i++) table.put("key" + i, i);
        while (ticks.get() < 50 || rounds.get() < 10000) Thread.sleep(10);
        Files.createDirectory(directory.resolve("ready"));
        while (!Files.exists(directory.resolve("go"))) Thread.sleep(5);
        int ticksBefore = ticks.get();
        long roundsBefore = rounds.get();
        Thread.sleep(300);
        if (ticks.get() <= ticksBefore) failures.add("ticks");
        if (rounds.get() <= roundsBefore) failures.add("rounds");
        for (int i = 0; i < 200000; i++) if (table.get("key" + i) != i) failures.add("table " + i);
        System.gc();
        stop = true;
        for (Thread thread : threads) thread.join();
        timer.shutdownNow();
        Files.writeString(directory.resolve(failures.isEmpty() ? "result" : "failures"),
                          failures.isEmpty() ? "pass\n" : String.join("\n", failures));
        System.exit(failures.isEmpty() ? 0 : 1);
    }
}
)";

class RealLanguage : public testing::Test {
 protected:
  void check(const Workload::Prepare& prepare, Rest rest) {
    Workload workload(kOtherUser, prepare);
    for (int round = 0; round < 2; ++round) {
      SCOPED_TRACE(round);
      dump_and_restore(workload.root(), rest);
      if (HasFatalFailure()) {
        return;
      }
    }
    EXPECT_EQ(workload.verdict(), "pass");
    EXPECT_TRUE(descendants().empty());
  }

  Reaper reaper_;
};

TEST_F(RealLanguage, PythonThreads) {
  if (!have_program("/usr/bin/python3")) {
    GTEST_SKIP() << "no python3";
  }
  check(
      [](const TemporaryDirectory& directory) {
        write_text(directory / "program.py", kPythonProgram);
        return std::vector<std::string>{"/usr/bin/python3", directory / "program.py", directory.path()};
      },
      Rest::Busy);
}

TEST_F(RealLanguage, Node) {
  if (!have_program("/usr/bin/node")) {
    GTEST_SKIP() << "no node";
  }
  check(
      [](const TemporaryDirectory& directory) {
        write_text(directory / "program.js", kNodeProgram);
        return std::vector<std::string>{"/usr/bin/node", directory / "program.js", directory.path()};
      },
      Rest::Busy);
}

TEST_F(RealLanguage, Jvm) {
  if (!have_program("/usr/bin/java") || !have_program("/usr/bin/javac")) {
    GTEST_SKIP() << "no JDK";
  }
  check(
      [](const TemporaryDirectory& directory) {
        write_text(directory / "Busy.java", kJavaProgram);
        const Outcome compiled = run({"/usr/bin/javac", "-d", directory.path(), directory / "Busy.java"});
        EXPECT_TRUE(compiled.ok()) << compiled.words();
        return std::vector<std::string>{
            "/usr/bin/java", "-Xmx128m",      "-Djava.io.tmpdir=" + directory.path(), "-cp", directory.path(),
            "Busy",          directory.path()};
      },
      Rest::Busy);
}

}  // namespace

}  // namespace godwit::e2e
