/** The service document: a system that owns jobs and receives calls, known by a name so that jobs never name an address. */
import { z } from 'zod';
import { type FieldError, JobError } from './errors.ts';
import { documentIssues, strictShape } from './job-issues.ts';
import { isObject, jsonProblem } from './job-json.ts';
import { serviceNameSchema } from './job-name.ts';
import { notifySchema } from './notifications/notify-rules.ts';
import { headersSchema, type TargetRules, urlShapeProblem } from './target-document.ts';

const address = (what: string) =>
  z
    .string({ error: (issue) => (issue.input === undefined ? `${what} is required` : 'must be a string') })
    .max(2_000)
    .superRefine((url, context) => {
      const problem = urlShapeProblem(url);
      if (problem) context.addIssue({ code: 'custom', message: problem });
    });

export const serviceSchema = strictShape(
  {
    name: serviceNameSchema,
    description: z.string({ error: 'must be a string' }).max(5_000, 'has more than 5,000 characters').optional(),
    baseUrl: address('baseUrl')
      .refine((url) => !url.includes('?'), 'must not hold a query; write it into the path of the target')
      .meta({
        description: 'http or https address that the paths of targets are joined to',
        example: 'https://invoicing.example.com/internal',
      }),
    headers: headersSchema.default({}).meta({ description: 'Sent with every call to this service' }),
    openapiUrl: address('openapiUrl')
      .optional()
      .meta({ description: "Where the service's own OpenAPI document is", example: 'https://invoicing.example.com/openapi.json' }),
    notify: notifySchema.optional().meta({ description: 'Who is told what of the jobs that belong to the service' }),
  },
  'a service with name and baseUrl',
).meta({ id: 'ServiceDocument' });

export type ServiceDocument = z.output<typeof serviceSchema>;

export type ServiceView = ServiceDocument & { id: string; generation: number; createdBy: string; createdAt: string; updatedAt: string };

const READ_ONLY_KEYS = ['id', 'generation', 'createdBy', 'createdAt', 'updatedAt'];

/** What GET adds is left unread, so that what was read can be written. */
export const withoutReadOnlyKeys = (body: unknown): unknown =>
  isObject(body) && body.id !== undefined
    ? Object.fromEntries(Object.entries(body).filter(([key]) => !READ_ONLY_KEYS.includes(key)))
    : body;

/** @throws JobError `invalid` naming every wrong place. */
export function parseService(body: unknown, rules: TargetRules): ServiceDocument {
  const unstorable = jsonProblem(body);
  if (unstorable) throw invalidService([{ ...unstorable, code: 'invalid' }]);
  const parsed = serviceSchema.safeParse(body);
  if (!parsed.success) throw invalidService(documentIssues(parsed.error));
  const service = parsed.data;
  const errors: FieldError[] = rules.headerProblems(service.headers).map(({ header, message }) => ({
    path: `/headers/${header.replaceAll('~', '~0').replaceAll('/', '~1')}`,
    message,
    code: 'header_refused',
  }));
  const problem = rules.urlProblem(service.baseUrl);
  if (problem) errors.push({ path: '/baseUrl', message: problem, code: 'address_refused' });
  if (errors.length > 0) throw invalidService(errors);
  return service;
}

export function invalidService(errors: FieldError[]): JobError {
  const first = errors[0];
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return new JobError('invalid', 'invalid_service', `The service is not valid: ${first?.path || 'document'}: ${first?.message}${more}.`, {
    errors,
  });
}
