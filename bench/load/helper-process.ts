/** A forked process that takes one question at a time over its channel and answers it. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export type HelperProcess<Question, Answer> = {
  child: ChildProcess;
  ask: (question: Question) => Promise<Answer>;
  close: () => Promise<void>;
};

/** @param file the entry, relative to bench/. It answers `{ result }` or `{ error }` to each message. */
export function forkHelper<Question extends object, Answer>(
  file: string,
  env: Record<string, string> = {},
): HelperProcess<Question, Answer> {
  const child = fork(fileURLToPath(new URL(`../${file}`, import.meta.url)), { env: { ...process.env, ...env }, execArgv: [] });
  return {
    child,
    ask: (question) =>
      new Promise((resolve, reject) => {
        const onExit = (code: number | null) => reject(new Error(`${file} ended with code ${code}`));
        child.once('exit', onExit);
        child.once('message', ({ result, error }: { result?: Answer; error?: string }) => {
          child.off('exit', onExit);
          if (error === undefined) resolve(result as Answer);
          else reject(new Error(`${file}: ${error}`));
        });
        child.send(question);
      }),
    close: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.disconnect();
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await gone;
      clearTimeout(timer);
    },
  };
}
