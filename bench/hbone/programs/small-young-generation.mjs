// Preloaded: the young generation does not grow, as in `ambient hbone forward` and `serve`.
import { setFlagsFromString } from 'node:v8'

setFlagsFromString('--semi-space-growth-factor=1')
