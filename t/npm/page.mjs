// The page of the browser: #{"report":...,"jobs":[...]}
import { cash } from './cash.mjs';
import { run } from './flow.mjs';

const { report, jobs } = JSON.parse(
    decodeURIComponent(location.hash.slice(1)));

for (const job of jobs) run(cash(job), job, report);
