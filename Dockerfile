# syntax=docker/dockerfile:1
# One image for every process of Almanac; the command picks the entry:
#   src/main-api.ts (default) · src/main-worker.ts · src/main-controller.ts · src/main-migrate.ts
# Node runs the TypeScript as it is; nothing is compiled but the workflow bundle. Keep the version equal to the `node`
# package in package.json (a test compares them). Debian, not Alpine: Temporal's native core needs glibc.
ARG NODE_IMAGE=node:26.10.0-bookworm-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Development dependencies hold what only `npm start` and the tests need, Postgres' and Node's own binaries among them.
RUN npm ci --omit=dev
# Temporal's native core comes for five platforms of about 28 MB each; one is enough here.
RUN case "$(uname -m)" in x86_64) keep=x86_64-unknown-linux-gnu ;; aarch64) keep=aarch64-unknown-linux-gnu ;; esac \
  && cd node_modules/@temporalio/core-bridge \
  && find releases -mindepth 1 -maxdepth 1 ! -name "$keep" -exec rm -r {} + \
  && rm -rf sdk-core src \
  && test -d "releases/$keep"

FROM dependencies AS bundle
COPY src ./src
COPY scripts/bundle-workflows.ts ./scripts/bundle-workflows.ts
RUN node scripts/bundle-workflows.ts dist/workflows.js

FROM ${NODE_IMAGE} AS runtime
WORKDIR /app
ENV NODE_ENV=production \
  UV_THREADPOOL_SIZE=16 \
  HOST=0.0.0.0 \
  PORT=8080 \
  WORKFLOW_BUNDLE=/app/dist/workflows.js
COPY package.json LICENSE ./
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=bundle /app/dist ./dist
COPY migrations ./migrations
COPY src ./src
COPY handlers ./handlers
COPY deploy/healthcheck.mjs ./deploy/healthcheck.mjs
USER node
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "deploy/healthcheck.mjs", "http://127.0.0.1:8080/health/ready"]
# Node itself is the first process and gets SIGTERM; every entry drains on it. No shell in between.
ENTRYPOINT ["node"]
CMD ["src/main-api.ts"]
