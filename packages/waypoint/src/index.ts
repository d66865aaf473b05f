/**
 * The L7 proxy of an ambient mesh.
 *
 * The package holds its place in the tree; rooms 8 to 10 of the architecture are not built yet, and it exports nothing.
 * @packageDocumentation
 */
export {}
