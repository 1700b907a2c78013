/** The documentation page: Swagger UI from its npm package, and `/openapi.json`. Nothing comes from elsewhere. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Router } from 'express';
import { methodNotAllowed } from './problem.ts';
import type { ApiRequest, ApiResponse } from './request.ts';
import { JSON_TYPE, send, sendJson, sendProblem } from './send.ts';

const HTML = 'text/html; charset=utf-8';
const SCRIPT = 'text/javascript; charset=utf-8';
const STYLE = 'text/css; charset=utf-8';

/** Swagger UI sets styles on elements, and draws its arrows as data: images; scripts come from files alone. */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Almanac API</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`;

const START = `window.ui = SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#swagger-ui',
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
});
`;

const PACKAGE_FILES: Record<string, string> = {
  'swagger-ui.css': STYLE,
  'swagger-ui-bundle.js': SCRIPT,
  'favicon-32x32.png': 'image/png',
};

/** Routes of the page and the document. `document` is the OpenAPI object, serialised once. */
export function createDocs(document: Record<string, unknown>): Router {
  const router = Router({ caseSensitive: true });
  const folder = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  const files = new Map<string, Promise<Buffer>>();
  const json = JSON.stringify(document);
  const fileOf = (name: string) => {
    const known = files.get(name) ?? readFile(join(folder, name));
    files.set(name, known);
    return known;
  };
  const get = (path: string, handle: (request: ApiRequest, response: ApiResponse) => Promise<void>) =>
    router.all(path, async (request, response: ApiResponse) => {
      response.locals.route = path;
      if (request.method === 'GET' || request.method === 'HEAD') return handle(request, response);
      if (request.method === 'OPTIONS') return sendJson(request, response, 204, null, { Allow: 'GET, HEAD, OPTIONS' });
      return sendProblem(request, response, methodNotAllowed(request.method, path, 'GET, HEAD, OPTIONS', response.locals.requestId));
    });

  const kept = { 'Cache-Control': 'public, max-age=3600' };
  get('/openapi.json', (request, response) => send(request, response, 200, JSON_TYPE, json, { 'Cache-Control': 'no-cache' }));
  get('/docs', (request, response) =>
    send(request, response, 200, HTML, PAGE, { 'Content-Security-Policy': PAGE_POLICY, 'Cache-Control': 'no-cache' }),
  );
  get('/docs/start.js', (request, response) => send(request, response, 200, SCRIPT, START, kept));
  for (const [name, type] of Object.entries(PACKAGE_FILES)) {
    get(`/docs/${name}`, async (request, response) => send(request, response, 200, type, await fileOf(name), kept));
  }
  // People who open the address in a browser land somewhere; programs learn that there is nothing.
  router.get('/', async (request, response: ApiResponse, next) => {
    if (!(request.headers.accept ?? '').includes('text/html')) return next();
    response.locals.route = '/';
    response.statusCode = 302;
    response.setHeader('Location', '/docs');
    response.end();
  });
  return router;
}
