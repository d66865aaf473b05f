import { packageConfig } from '../../.config/tsup.base.ts'

export default packageConfig('cli')
