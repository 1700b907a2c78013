/**
 * Reports how the machine of the worker is doing, and fails when a limit is crossed, so that a schedule of it is a small monitor:
 *
 *     { "name": "worker-health", "schedule": { "every": "1m" },
 *       "target": { "type": "handler", "name": "heartbeat-report" },
 *       "input": { "maxLoadPerCpu": 4, "maxMemoryPercent": 95, "minDiskFreePercent": 5 } }
 */
import { statfs } from 'node:fs/promises';
import { availableParallelism, freemem, hostname, loadavg, totalmem, uptime } from 'node:os';
import { defineHandler, NonRetryableError } from 'almanac/handlers';
import { z } from 'zod';

const MIB = 1024 * 1024;
const percent = z.number().min(0).max(100);

export const heartbeatReport = defineHandler({
  name: 'heartbeat-report',
  description: "Reports load, memory and free disk of the worker's machine; fails when one crosses a limit of the input.",
  input: z.strictObject({
    maxLoadPerCpu: z.number().positive().optional().describe('load average of one minute, divided by the processors'),
    maxMemoryPercent: percent.optional().describe('memory in use'),
    minDiskFreePercent: percent.optional().describe('free space of the file system that holds `path`'),
    path: z.string().min(1).default('/'),
  }),
  timeout: '10s',
  run: async ({ input, log, signal }) => {
    const disk = await statfs(input.path);
    signal.throwIfAborted();
    const report = {
      host: hostname(),
      uptimeSeconds: Math.round(uptime()),
      loadPerCpu: round((loadavg()[0] ?? 0) / availableParallelism()),
      memoryTotalMiB: Math.round(totalmem() / MIB),
      memoryPercent: round((1 - freemem() / totalmem()) * 100),
      diskFreeMiB: Math.round((disk.bavail * disk.bsize) / MIB),
      diskFreePercent: round((disk.bavail / disk.blocks) * 100),
    };
    const crossed = [
      over('load per processor', report.loadPerCpu, input.maxLoadPerCpu),
      over('memory in use (%)', report.memoryPercent, input.maxMemoryPercent),
      under(`free disk of ${input.path} (%)`, report.diskFreePercent, input.minDiskFreePercent),
    ].filter((sentence) => sentence !== null);
    // The reading is the answer: measuring again a second later would not be another one.
    if (crossed.length > 0) throw new NonRetryableError(`${report.host}: ${crossed.join('; ')}`);
    log.info(report, 'the machine is within its limits');
    return report;
  },
});

const round = (value: number) => Math.round(value * 100) / 100;
const over = (what: string, value: number, limit: number | undefined) =>
  limit !== undefined && value > limit ? `${what} is ${value}, above ${limit}` : null;
const under = (what: string, value: number, limit: number | undefined) =>
  limit !== undefined && value < limit ? `${what} is ${value}, below ${limit}` : null;
