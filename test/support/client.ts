/** A client that knows nothing of Almanac but its address and a key: what a stranger's program sees. */

/** A body as JSON says it; tests look into it without a schema. */
// biome-ignore lint/suspicious/noExplicitAny: what an API answers is not known to a stranger
export type Body = any;
export type Answer = { status: number; headers: Headers; body: Body; text: string };
export type RequestOptions = { headers?: Record<string, string>; signal?: AbortSignal };

export type ApiClient = {
  url: string;
  call: (method: string, path: string, body?: unknown, options?: RequestOptions) => Promise<Answer>;
  get: (path: string) => Promise<Answer>;
  post: (path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>;
};

/** @param key the bearer key; paths are below /api/v1 unless they begin with `//`, which stands for the root. */
export function createApiClient(url: string, key: string): ApiClient {
  const call: ApiClient['call'] = async (method, path, body, { headers = {}, signal } = {}) => {
    const response = await fetch(`${url}${path.startsWith('//') ? path.slice(1) : `/api/v1${path}`}`, {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: /json/.test(response.headers.get('content-type') ?? '') ? JSON.parse(text) : null,
    };
  };
  return {
    url,
    call,
    get: (path) => call('GET', path),
    post: (path, body, headers = {}) => call('POST', path, body, { headers }),
  };
}
