import java.io.IOException;
import java.nio.file.FileStore;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** What a Java program asks of the kernel: threads, children, types of file stores, signals. */
public class Parity {
	public static void main(String[] arguments) throws Exception {
		System.out.println("== file stores");
		var stores = new TreeSet<String>();
		for (FileStore store : FileSystems.getDefault().getFileStores()) {
			stores.add(store.name() + " " + store.type() + " " + store.isReadOnly());
		}
		stores.forEach(System.out::println);
		System.out.println(Files.getFileStore(Path.of("/")).type() + " " + Files.getFileStore(Path.of("/proc")).type());

		System.out.println("== children");
		for (String script : List.of("exit 3", "kill -9 $$", "echo said; cat", "sleep 1000")) {
			Process child = new ProcessBuilder("sh", "-c", script).redirectErrorStream(true).start();
			child.getOutputStream().close();
			if (script.startsWith("sleep")) {
				child.destroy();
			}
			String said = new String(child.getInputStream().readAllBytes());
			System.out.println(script + ": " + child.waitFor() + " " + said.strip());
		}
		try {
			new ProcessBuilder("/nonexistent").start();
		} catch (IOException error) {
			System.out.println(error.getMessage());
		}

		System.out.println("== threads that start children and read tables");
		var pool = Executors.newFixedThreadPool(8);
		var results = new java.util.ArrayList<Future<Integer>>();
		for (int i = 0; i < 64; i++) {
			int status = i;
			results.add(pool.submit(() -> {
				Files.readAllLines(Path.of("/proc/self/mountinfo"));
				return new ProcessBuilder("sh", "-c", "exit " + status).start().waitFor();
			}));
		}
		int sum = 0;
		for (var result : results) {
			sum += result.get();
		}
		pool.shutdown();
		System.out.println(sum + " " + pool.awaitTermination(1, TimeUnit.MINUTES));

		System.out.println("== faults that the virtual machine handles");
		int[] nothing = arguments.length > 99 ? new int[1] : null;
		int caught = 0;
		for (int i = 0; i < 20000; i++) {
			try {
				nothing[0]++;
			} catch (NullPointerException expected) {
				caught++;
			}
		}
		System.out.println(caught);
		try {
			deep(0);
		} catch (StackOverflowError expected) {
			System.out.println("overflow");
		}

		System.out.println("== a handler, and the end by a signal");
		Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("shut down")));
		new ProcessBuilder("kill", "-TERM", String.valueOf(ProcessHandle.current().pid())).start();
		Thread.sleep(60_000);
	}

	static int deep(int level) {
		return deep(level + 1) + 1;
	}
}
