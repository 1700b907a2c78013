/** The facts of behaviour.ts for executions that have a workflow of their own. */
import { behaviour } from './behaviour.ts';

behaviour('dedicated');
