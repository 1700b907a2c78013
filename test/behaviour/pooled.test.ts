/** The facts of behaviour.ts for executions that share workflows. */
import { behaviour } from './behaviour.ts';

behaviour('pooled');
