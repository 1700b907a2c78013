/** Facts of the machine, to be read beside every figure. */
import { availableParallelism, cpus, freemem, loadavg, release, totalmem } from 'node:os';

export type Machine = {
  cores: number;
  processor: string;
  system: string;
  totalMiB: number;
  freeMiB: number;
  /** Of 1, 5 and 15 minutes. */
  loadAverage: number[];
  node: string;
  postgres: string;
  temporal: string;
};

export const machineNow = (): Pick<Machine, 'loadAverage' | 'freeMiB'> => ({
  loadAverage: loadavg().map((load) => Math.round(load * 100) / 100),
  freeMiB: Math.round(freemem() / 2 ** 20),
});

export const machineFacts = (servers: { postgres: string; temporal: string }): Machine => ({
  cores: availableParallelism(),
  processor: cpus()[0]?.model ?? 'unknown',
  system: `${process.platform} ${release()} ${process.arch}`,
  totalMiB: Math.round(totalmem() / 2 ** 20),
  ...machineNow(),
  node: process.versions.node,
  ...servers,
});

export const machineText = (machine: Machine): string =>
  [
    `${machine.cores} cores (${machine.processor}), ${machine.totalMiB} MiB, ${machine.freeMiB} MiB free; load ${machine.loadAverage.join(' ')}`,
    `${machine.system}; Node ${machine.node}; Postgres ${machine.postgres}; Temporal ${machine.temporal}`,
  ].join('\n');
