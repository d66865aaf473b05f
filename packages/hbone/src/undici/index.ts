/**
 * undici and `fetch` through tunnels. undici is an optional peer dependency: 6.21 or later, 7 or 8; 7 is the one whose
 * dispatchers the `fetch` of every supported Node takes.
 * @packageDocumentation
 */
export { createHboneDispatcher, type HboneDispatcherOptions } from './dispatcher.ts'
export { createHboneFetch, type HboneFetch } from './fetch.ts'
