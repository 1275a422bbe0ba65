// All clients that run in Node, each for itself: node node.mjs JOBFILE
import { readFileSync } from 'node:fs';
import { cash } from './cash.mjs';
import { run } from './flow.mjs';
import { mempool, old } from './line.mjs';

const KIND = { cash, mempool, old };
const { report, jobs } = JSON.parse(readFileSync(process.argv[2], 'utf8'));

await Promise.all(jobs.map((job) => run(KIND[job.kind](job), job, report)));
process.exit(0); // the clients keep timers
