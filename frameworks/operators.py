"""Operators of TensorFlow and tensorflow_text: those that only compute, and those that are refused, with the reason.

A SavedModel is a program, and its author chose its operators. So this is an allow list: each operator in the registries
of TensorFlow 2.21 and tensorflow_text 2.21 was classified by its arguments and its purpose. An operator is allowed
if it reads and writes only tensors, and variables, tables and queues in memory. An operator on neither list (of a newer
TensorFlow, or of another package) is refused as unknown. A test walks the installed registries and fails when an
operator is on neither list.
"""

from __future__ import annotations

import re


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Constants, calls, control flow, and operators that pass a value on or report its size.
_CONTROL = _names(
    """
    AllToAll Assert AudioSummary AudioSummaryV2 BatchFunction Case CheckNumerics CheckNumericsV2 CheckPinned
    CompositeTensorVariantFromComponents CompositeTensorVariantToComponents Const ControlTrigger CrossReplicaSum
    CustomAggregator DebugGradientIdentity DebugGradientRefIdentity DeepCopy DeviceIndex EnsureShape Enter Exit
    FakeParam For GuaranteeConst HistogramSummary HostConst Identity IdentityN If ImageSummary IsTensorFloat32Enabled
    LoopCond MapDefun Merge MergeSummary NextIteration NoOp ParallelConcat PartitionedCall Placeholder PlaceholderV2
    PlaceholderWithDefault PreventGradient Print RefEnter RefExit RefIdentity RefMerge RefNextIteration RefSelect
    RefSwitch ScalarSummary ShardedFilename ShardedFilespec Snapshot StatefulPartitionedCall StatelessCase StatelessIf
    StatelessWhile StopGradient Switch SymbolicGradient TPUCompilationResult TPUEmbeddingActivations
    TPUReplicateMetadata TPUReplicatedInput TPUReplicatedOutput TensorSummary TensorSummaryV2 Timestamp While
    XlaAllReduce XlaBroadcastHelper XlaClusterOutput XlaConcatND XlaConv XlaConvV2 XlaDequantize XlaDot XlaDotV2
    XlaDynamicSlice XlaDynamicUpdateSlice XlaEinsum XlaGather XlaIf XlaKeyValueSort XlaOptimizationBarrier XlaPad
    XlaReduce XlaReducePrecision XlaReduceScatter XlaReduceWindow XlaRemoveDynamicDimensionSize XlaReplicaId
    XlaRngBitGenerator XlaScatter XlaSelectAndScatter XlaSelfAdjointEig XlaSetBound XlaSetDynamicDimensionSize
    XlaSharding XlaSort XlaSplitND XlaSpmdFullToShardShape XlaSpmdShardToFullShape XlaSvd XlaVariadicReduce
    XlaVariadicReduceV2 XlaVariadicSort XlaWhile _Arg _ArrayToList _HostCast _If _ListToArray _ParallelConcatStart
    _ParallelConcatUpdate _Retval _SwitchN _While
    """
)

# Variables, tables, queues and lists in memory; optimizers.
_STATE = _names(
    """
    AccumulatorApplyGradient AccumulatorNumAccumulated AccumulatorSetGlobalStep AccumulatorTakeGradient
    AddManySparseToTensorsMap AddSparseToTensorsMap AnonymousHashTable AnonymousMutableDenseHashTable
    AnonymousMutableHashTable AnonymousMutableHashTableOfTensors ApplyAdaMax ApplyAdadelta ApplyAdagrad ApplyAdagradDA
    ApplyAdagradV2 ApplyAdam ApplyAddSign ApplyCenteredRMSProp ApplyFtrl ApplyFtrlV2 ApplyGradientDescent
    ApplyMomentum ApplyPowerSign ApplyProximalAdagrad ApplyProximalGradientDescent ApplyRMSProp Assign AssignAdd
    AssignAddVariableOp AssignSub AssignSubVariableOp AssignVariableOp AssignVariableXlaConcatND Barrier BarrierClose
    BarrierIncompleteSize BarrierInsertMany BarrierReadySize BarrierTakeMany BoostedTreesAggregateStats
    BoostedTreesBucketize BoostedTreesCalculateBestFeatureSplit BoostedTreesCalculateBestFeatureSplitV2
    BoostedTreesCalculateBestGainsPerFeature BoostedTreesCenterBias BoostedTreesCreateEnsemble
    BoostedTreesCreateQuantileStreamResource BoostedTreesDeserializeEnsemble BoostedTreesEnsembleResourceHandleOp
    BoostedTreesExampleDebugOutputs BoostedTreesFlushQuantileSummaries BoostedTreesGetEnsembleStates
    BoostedTreesMakeQuantileSummaries BoostedTreesMakeStatsSummary BoostedTreesPredict
    BoostedTreesQuantileStreamResourceAddSummaries BoostedTreesQuantileStreamResourceDeserialize
    BoostedTreesQuantileStreamResourceFlush BoostedTreesQuantileStreamResourceGetBucketBoundaries
    BoostedTreesQuantileStreamResourceHandleOp BoostedTreesSerializeEnsemble BoostedTreesSparseAggregateStats
    BoostedTreesSparseCalculateBestFeatureSplit BoostedTreesTrainingPredict BoostedTreesUpdateEnsemble
    BoostedTreesUpdateEnsembleV2 ConditionalAccumulator ConsumeMutexLock CountUpTo DestroyResourceOp
    DestroyTemporaryVariable DisableCopyOnRead EmptyTensorList EmptyTensorMap FIFOQueue FIFOQueueV2 FakeQueue
    HashTable HashTableV2 InitializeTable InitializeTableV2 IsBoostedTreesEnsembleInitialized
    IsBoostedTreesQuantileStreamResourceInitialized IsVariableInitialized LookupTableExport LookupTableExportV2
    LookupTableFind LookupTableFindV2 LookupTableImport LookupTableImportV2 LookupTableInsert LookupTableInsertV2
    LookupTableRemoveV2 LookupTableSize LookupTableSizeV2 MapClear MapIncompleteSize MapPeek MapSize MapStage
    MapUnstage MapUnstageNoKey MutableDenseHashTable MutableDenseHashTableV2 MutableHashTable
    MutableHashTableOfTensors MutableHashTableOfTensorsV2 MutableHashTableV2 MutexLock MutexV2 OrderedMapClear
    OrderedMapIncompleteSize OrderedMapPeek OrderedMapSize OrderedMapStage OrderedMapUnstage OrderedMapUnstageNoKey
    PaddingFIFOQueue PaddingFIFOQueueV2 PriorityQueue PriorityQueueV2 QueueClose QueueCloseV2 QueueDequeue
    QueueDequeueMany QueueDequeueManyV2 QueueDequeueUpTo QueueDequeueUpToV2 QueueDequeueV2 QueueEnqueue
    QueueEnqueueMany QueueEnqueueManyV2 QueueEnqueueV2 QueueIsClosed QueueIsClosedV2 QueueSize QueueSizeV2
    RandomShuffleQueue RandomShuffleQueueV2 ReadVariableOp ReadVariableXlaSplitND ResourceAccumulatorApplyGradient
    ResourceAccumulatorNumAccumulated ResourceAccumulatorSetGlobalStep ResourceAccumulatorTakeGradient
    ResourceApplyAdaMax ResourceApplyAdadelta ResourceApplyAdagrad ResourceApplyAdagradDA ResourceApplyAdagradV2
    ResourceApplyAdam ResourceApplyAdamWithAmsgrad ResourceApplyAddSign ResourceApplyCenteredRMSProp ResourceApplyFtrl
    ResourceApplyFtrlV2 ResourceApplyGradientDescent ResourceApplyKerasMomentum ResourceApplyMomentum
    ResourceApplyPowerSign ResourceApplyProximalAdagrad ResourceApplyProximalGradientDescent ResourceApplyRMSProp
    ResourceConditionalAccumulator ResourceCountUpTo ResourceGather ResourceGatherNd ResourceScatterAdd
    ResourceScatterDiv ResourceScatterMax ResourceScatterMin ResourceScatterMul ResourceScatterNdAdd
    ResourceScatterNdMax ResourceScatterNdMin ResourceScatterNdSub ResourceScatterNdUpdate ResourceScatterSub
    ResourceScatterUpdate ResourceSparseApplyAdadelta ResourceSparseApplyAdagrad ResourceSparseApplyAdagradDA
    ResourceSparseApplyAdagradV2 ResourceSparseApplyCenteredRMSProp ResourceSparseApplyFtrl ResourceSparseApplyFtrlV2
    ResourceSparseApplyKerasMomentum ResourceSparseApplyMomentum ResourceSparseApplyProximalAdagrad
    ResourceSparseApplyProximalGradientDescent ResourceSparseApplyRMSProp ResourceStridedSliceAssign SdcaFprint
    SdcaOptimizer SdcaOptimizerV2 SdcaShrinkL1 SparseAccumulatorApplyGradient SparseAccumulatorTakeGradient
    SparseApplyAdadelta SparseApplyAdagrad SparseApplyAdagradDA SparseApplyAdagradV2 SparseApplyCenteredRMSProp
    SparseApplyFtrl SparseApplyFtrlV2 SparseApplyMomentum SparseApplyProximalAdagrad
    SparseApplyProximalGradientDescent SparseApplyRMSProp SparseConditionalAccumulator Stack StackClose StackCloseV2
    StackPop StackPopV2 StackPush StackPushV2 StackV2 Stage StageClear StagePeek StageSize
    TakeManySparseFromTensorsMap TemporaryVariable TensorArray TensorArrayClose TensorArrayCloseV2 TensorArrayCloseV3
    TensorArrayConcat TensorArrayConcatV2 TensorArrayConcatV3 TensorArrayGather TensorArrayGatherV2
    TensorArrayGatherV3 TensorArrayGrad TensorArrayGradV2 TensorArrayGradV3 TensorArrayGradWithShape TensorArrayPack
    TensorArrayRead TensorArrayReadV2 TensorArrayReadV3 TensorArrayScatter TensorArrayScatterV2 TensorArrayScatterV3
    TensorArraySize TensorArraySizeV2 TensorArraySizeV3 TensorArraySplit TensorArraySplitV2 TensorArraySplitV3
    TensorArrayUnpack TensorArrayV2 TensorArrayV3 TensorArrayWrite TensorArrayWriteV2 TensorArrayWriteV3
    TensorListConcat TensorListConcatLists TensorListConcatV2 TensorListElementShape TensorListFromTensor
    TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListPushBackBatch
    TensorListReserve TensorListResize TensorListScatter TensorListScatterIntoExistingList TensorListScatterV2
    TensorListSetItem TensorListSplit TensorListStack TensorMapErase TensorMapHasKey TensorMapInsert TensorMapLookup
    TensorMapSize TensorMapStackKeys Unstage VarHandleOp VarIsInitializedOp Variable VariableShape VariableV2
    _ReadVariablesOp _VarHandlesOp
    """
)

# tf.data pipelines over data in the graph.
_DATA = _names(
    """
    AnonymousIterator AnonymousIteratorV2 AnonymousIteratorV3 AnonymousMemoryCache AnonymousMultiDeviceIterator
    AnonymousMultiDeviceIteratorV3 AnonymousRandomSeedGenerator AnonymousSeedGenerator AssertCardinalityDataset
    AssertNextDataset AssertPrevDataset AutoShardDataset BatchDataset BatchDatasetV2 ChooseFastestBranchDataset
    ChooseFastestDataset CompressElement ConcatenateDataset DatasetCardinality DatasetFingerprint DatasetToGraph
    DatasetToGraphV2 DatasetToSingleElement DeleteIterator DeleteMemoryCache DeleteMultiDeviceIterator
    DeleteRandomSeedGenerator DeleteSeedGenerator DenseToSparseBatchDataset DirectedInterleaveDataset DummyMemoryCache
    DummySeedGenerator ExperimentalAssertNextDataset ExperimentalAutoShardDataset ExperimentalChooseFastestDataset
    ExperimentalDatasetCardinality ExperimentalDenseToSparseBatchDataset ExperimentalDirectedInterleaveDataset
    ExperimentalGroupByReducerDataset ExperimentalGroupByWindowDataset ExperimentalIgnoreErrorsDataset
    ExperimentalIteratorGetDevice ExperimentalMapAndBatchDataset ExperimentalMapDataset
    ExperimentalMaxIntraOpParallelismDataset ExperimentalNonSerializableDataset ExperimentalParallelInterleaveDataset
    ExperimentalParseExampleDataset ExperimentalPrivateThreadPoolDataset ExperimentalRandomDataset
    ExperimentalRebatchDataset ExperimentalScanDataset ExperimentalSlidingWindowDataset ExperimentalTakeWhileDataset
    ExperimentalThreadPoolDataset ExperimentalThreadPoolHandle ExperimentalUnbatchDataset ExperimentalUniqueDataset
    FilterByLastComponentDataset FilterDataset FinalizeDataset FlatMapDataset GeneratorDataset GetElementAtIndex
    GetOptions GlobalShuffleDataset GroupByReducerDataset GroupByWindowDataset IgnoreErrorsDataset IndexFlatMapDataset
    InitializeTableFromDataset InterleaveDataset Iterator IteratorFromStringHandle IteratorFromStringHandleV2
    IteratorGetDevice IteratorGetModelProto IteratorGetNext IteratorGetNextAsOptional IteratorGetNextSync
    IteratorToStringHandle IteratorV2 LegacyParallelInterleaveDatasetV2 ListDataset MakeIterator MapAndBatchDataset
    MapDataset MaxIntraOpParallelismDataset ModelDataset MultiDeviceIterator MultiDeviceIteratorFromStringHandle
    MultiDeviceIteratorGetNextFromShard MultiDeviceIteratorInit MultiDeviceIteratorToStringHandle
    NonSerializableDataset OneShotIterator OptimizeDataset OptimizeDatasetV2 OptionalFromValue OptionalGetValue
    OptionalHasValue OptionalNone OptionsDataset PaddedBatchDataset PaddedBatchDatasetV2 ParallelBatchDataset
    ParallelFilterDataset ParallelInterleaveDataset ParallelInterleaveDatasetV2 ParallelInterleaveDatasetV3
    ParallelInterleaveDatasetV4 ParallelMapDataset ParallelMapDatasetV2 ParseExampleDataset ParseExampleDatasetV2
    PrefetchDataset PrivateThreadPoolDataset RandomDataset RandomDatasetV2 RangeDataset RebatchDataset
    RebatchDatasetV2 ReduceDataset RepeatDataset RewriteDataset SamplingDataset ScanDataset ShardDataset
    ShuffleAndRepeatDataset ShuffleAndRepeatDatasetV2 ShuffleDataset ShuffleDatasetV2 ShuffleDatasetV3 SkipDataset
    SlidingWindowDataset SparseTensorSliceDataset TakeDataset TakeWhileDataset TensorDataset TensorSliceDataset
    ThreadPoolDataset ThreadPoolHandle UnbatchDataset UncompressElement UniqueDataset UnwrapDatasetVariant
    WeightedFlatMapDataset WindowDataset WrapDatasetVariant ZipDataset
    """
)

# Operators of tensorflow_text.
_TEXT = _names(
    """
    CaseFoldUTF8 ConstrainedSequence FastBertNormalize FastWordpieceTokenizeWithOffsets FindSourceOffsets
    MaxSpanningTree NormalizeUTF8 NormalizeUTF8WithOffsetsMap PhraseTokenize RegexSplitWithOffsets RougeL
    SentenceFragments SentenceFragmentsV2 SentencepieceDetokenizeOp SentencepieceIdToStringOp SentencepieceOp
    SentencepieceStringToIdOp SentencepieceTokenizeOp SentencepieceTokenizeWithOffsetsOp SentencepieceVocabSizeOp
    SplitMergeTokenizeWithOffsets TFText>BoiseTagsToOffsets TFText>ByteSplitByOffsets TFText>ByteSplitWithOffsets
    TFText>FastSentencepieceDetokenize TFText>FastSentencepieceTokenize TFText>FastWordpieceDetokenize
    TFText>NgramsStringJoin TFText>OffsetsToBoiseTags TFText>PhraseDetokenize TFText>RoundRobinGenerateMasks
    TFText>RoundRobinTrim TFText>Utf8Binarize TFText>WhitespaceTokenizeWithOffsetsV2 TokenizerFromLogits
    UnicodeScriptTokenizeWithOffsets WhitespaceTokenizeWithOffsets WordpieceTokenizeWithOffsets
    """
)

# Arithmetic on numbers, texts, pictures and sound.
_MATH = _names(
    """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation All
    AllCandidateSampler Angle Any ApproxTopK ApproximateEqual ArgMax ArgMin AsString Asin Asinh Atan Atan2 Atanh
    AudioMicrofrontend AudioSpectrogram AvgPool AvgPool3D AvgPool3DGrad AvgPoolGrad BandedTriangularSolve Batch
    BatchCholesky BatchCholeskyGrad BatchFFT BatchFFT2D BatchFFT3D BatchIFFT BatchIFFT2D BatchIFFT3D BatchMatMul
    BatchMatMulV2 BatchMatMulV3 BatchMatrixBandPart BatchMatrixDeterminant BatchMatrixDiag BatchMatrixDiagPart
    BatchMatrixInverse BatchMatrixSetDiag BatchMatrixSolve BatchMatrixSolveLs BatchMatrixTriangularSolve
    BatchNormWithGlobalNormalization BatchNormWithGlobalNormalizationGrad BatchSelfAdjointEig BatchSelfAdjointEigV2
    BatchSvd BatchToSpace BatchToSpaceND BesselI0 BesselI0e BesselI1 BesselI1e BesselJ0 BesselJ1 BesselK0 BesselK0e
    BesselK1 BesselK1e BesselY0 BesselY1 Betainc BiasAdd BiasAddGrad BiasAddV1 Bincount Bitcast BitwiseAnd BitwiseOr
    BitwiseXor BlockLSTM BlockLSTMGrad BlockLSTMGradV2 BlockLSTMV2 BroadcastArgs BroadcastGradientArgs BroadcastTo
    Bucketize CSRSparseMatrixComponents CSRSparseMatrixToDense CSRSparseMatrixToSparseTensor CTCBeamSearchDecoder
    CTCGreedyDecoder CTCLoss CTCLossV2 Cast Ceil Cholesky CholeskyGrad ClipByValue CombinedNonMaxSuppression Complex
    ComplexAbs ComputeAccidentalHits ComputeBatchSize Concat ConcatOffset ConcatV2 Conj ConjugateTranspose Conv Conv2D
    Conv2DBackpropFilter Conv2DBackpropFilterV2 Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D Conv3DBackpropFilter
    Conv3DBackpropFilterV2 Conv3DBackpropInput Conv3DBackpropInputV2 Cos Cosh CropAndResize CropAndResizeGradBoxes
    CropAndResizeGradImage Cross CudnnRNN CudnnRNNBackprop CudnnRNNBackpropV2 CudnnRNNBackpropV3
    CudnnRNNCanonicalToParams CudnnRNNCanonicalToParamsV2 CudnnRNNParamsSize CudnnRNNParamsToCanonical
    CudnnRNNParamsToCanonicalV2 CudnnRNNV2 CudnnRNNV3 Cumprod Cumsum CumulativeLogsumexp DataFormatDimMap
    DataFormatVecPermute Dawsn DecodeAndCropJpeg DecodeBase64 DecodeBmp DecodeCSV DecodeCompressed DecodeGif
    DecodeImage DecodeJSONExample DecodeJpeg DecodeJxl DecodePaddedRaw DecodePng DecodeRaw DecodeWav DecodeWebP
    DenseBincount DenseCountSparseOutput DenseToCSRSparseMatrix DenseToDenseSetOperation DenseToSparseSetOperation
    DepthToSpace DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput
    Dequantize DeserializeManySparse DeserializeSparse Diag DiagPart Digamma Dilation2D Dilation2DBackpropFilter
    Dilation2DBackpropInput Div DivNoNan DrawBoundingBoxes DrawBoundingBoxesV2 DynamicPartition DynamicStitch
    EditDistance Eig Einsum Elu EluGrad Empty EncodeBase64 EncodeJpeg EncodeJpegVariableQuality EncodePng EncodeWav
    Equal Erf Erfc Erfinv EuclideanNorm Exp ExpandDims Expint Expm1 ExtractGlimpse ExtractGlimpseV2
    ExtractImagePatches ExtractJpegShape ExtractVolumePatches FFT FFT2D FFT3D FFTND Fact FakeQuantWithMinMaxArgs
    FakeQuantWithMinMaxArgsGradient FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsGradient
    FakeQuantWithMinMaxVarsPerChannel FakeQuantWithMinMaxVarsPerChannelGradient Fill Fingerprint Floor FloorDiv
    FloorMod FractionalAvgPool FractionalAvgPoolGrad FractionalMaxPool FractionalMaxPoolGrad FresnelCos FresnelSin
    FusedBatchNorm FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3 FusedBatchNormV2 FusedBatchNormV3
    FusedPadConv2D FusedResizeAndPadConv2D GRUBlockCell GRUBlockCellGrad Gather GatherNd GatherV2
    GenerateBoundingBoxProposals Greater GreaterEqual HSVToRGB HistogramFixedWidth IFFT IFFT2D IFFT3D IFFTND IRFFT
    IRFFT2D IRFFT3D IRFFTND Igamma IgammaGradA Igammac Imag ImageProjectiveTransformV2 ImageProjectiveTransformV3
    InTopK InTopKV2 InplaceAdd InplaceSub InplaceUpdate Inv InvGrad Invert InvertPermutation IsFinite IsInf IsNan
    IsotonicRegression KMC2ChainInitialization KmeansPlusPlusInitialization KthOrderStatistic L2Loss LRN LRNGrad
    LSTMBlockCell LSTMBlockCellGrad LeakyRelu LeakyReluGrad LearnedUnigramCandidateSampler LeftShift Less LessEqual
    Lgamma LinSpace ListDiff Log Log1p LogMatrixDeterminant LogSoftmax LogUniformCandidateSampler LogicalAnd
    LogicalNot LogicalOr LowerBound Lu MakeUnique MatMul MatrixBandPart MatrixDeterminant MatrixDiag MatrixDiagPart
    MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixExponential MatrixInverse MatrixLogarithm
    MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MatrixSolve MatrixSolveLs MatrixSquareRoot MatrixTriangularSolve Max
    MaxPool MaxPool3D MaxPool3DGrad MaxPool3DGradGrad MaxPoolGrad MaxPoolGradGrad MaxPoolGradGradV2
    MaxPoolGradGradWithArgmax MaxPoolGradV2 MaxPoolGradWithArgmax MaxPoolV2 MaxPoolWithArgmax Maximum Mean Mfcc Min
    Minimum MirrorPad MirrorPadGrad Mod Mul MulNoNan Multinomial Ndtri NearestNeighbors Neg NegTrain NextAfter
    NonDeterministicInts NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4
    NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps NotEqual NthElement OneHot OnesLike Pack Pad PadV2
    ParallelDynamicStitch ParameterizedTruncatedNormal ParseExample ParseExampleV2 ParseSequenceExample
    ParseSequenceExampleV2 ParseSingleExample ParseSingleSequenceExample ParseTensor Polygamma PopulationCount Pow
    Prod Qr QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4
    QuantizeAndDequantizeV4Grad QuantizeDownAndShrinkRange QuantizeV2 QuantizedAdd QuantizedAvgPool
    QuantizedBatchNormWithGlobalNormalization QuantizedBiasAdd QuantizedConcat QuantizedConcatV2 QuantizedConv2D
    QuantizedConv2DAndRelu QuantizedConv2DAndReluAndRequantize QuantizedConv2DAndRequantize QuantizedConv2DPerChannel
    QuantizedConv2DWithBias QuantizedConv2DWithBiasAndRelu QuantizedConv2DWithBiasAndReluAndRequantize
    QuantizedConv2DWithBiasAndRequantize QuantizedConv2DWithBiasSignedSumAndReluAndRequantize
    QuantizedConv2DWithBiasSumAndRelu QuantizedConv2DWithBiasSumAndReluAndRequantize QuantizedDepthwiseConv2D
    QuantizedDepthwiseConv2DWithBias QuantizedDepthwiseConv2DWithBiasAndRelu
    QuantizedDepthwiseConv2DWithBiasAndReluAndRequantize QuantizedInstanceNorm QuantizedMatMul QuantizedMatMulWithBias
    QuantizedMatMulWithBiasAndDequantize QuantizedMatMulWithBiasAndRelu QuantizedMatMulWithBiasAndReluAndRequantize
    QuantizedMatMulWithBiasAndRequantize QuantizedMaxPool QuantizedMul QuantizedRelu QuantizedRelu6 QuantizedReluX
    QuantizedReshape QuantizedResizeBilinear RFFT RFFT2D RFFT3D RFFTND RGBToHSV RaggedBincount RaggedCountSparseOutput
    RaggedCross RaggedFillEmptyRows RaggedFillEmptyRowsGrad RaggedGather RaggedRange RaggedTensorFromVariant
    RaggedTensorToSparse RaggedTensorToTensor RaggedTensorToVariant RaggedTensorToVariantGradient RandomCrop
    RandomGamma RandomGammaGrad RandomIndexShuffle RandomPoisson RandomPoissonV2 RandomShuffle RandomStandardNormal
    RandomUniform RandomUniformInt Range Rank Real RealDiv Reciprocal ReciprocalGrad ReduceJoin RegexFullMatch
    RegexReplace Relu Relu6 Relu6Grad ReluGrad RequantizationRange RequantizationRangePerChannel Requantize
    RequantizePerChannel Reshape ResizeArea ResizeBicubic ResizeBicubicGrad ResizeBilinear ResizeBilinearGrad
    ResizeNearestNeighbor ResizeNearestNeighborGrad Reverse ReverseSequence ReverseV2 RightShift Rint RiscAbs RiscAdd
    RiscBinaryArithmetic RiscBinaryComparison RiscBitcast RiscBroadcast RiscCast RiscCeil RiscCholesky RiscConcat
    RiscCondition RiscConv RiscCos RiscDiv RiscDot RiscExp RiscFft RiscFloor RiscGather RiscImag RiscIsFinite RiscLog
    RiscLogicalAnd RiscLogicalNot RiscLogicalOr RiscMax RiscMin RiscMul RiscNeg RiscPad RiscPool RiscPow
    RiscRandomUniform RiscReal RiscReduce RiscRem RiscReshape RiscReverse RiscScatter RiscShape RiscSign RiscSlice
    RiscSort RiscSqueeze RiscSub RiscTranspose RiscTriangularSolve RiscUnary RiscWhile RngReadAndSkip RngSkip Roll
    Round Rsqrt RsqrtGrad SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 ScaleAndTranslate
    ScaleAndTranslateGrad ScatterAdd ScatterDiv ScatterMax ScatterMin ScatterMul ScatterNd ScatterNdAdd ScatterNdMax
    ScatterNdMin ScatterNdNonAliasingAdd ScatterNdSub ScatterNdUpdate ScatterSub ScatterUpdate SegmentMax SegmentMaxV2
    SegmentMean SegmentMin SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum SegmentSumV2 Select SelectV2
    SelfAdjointEig SelfAdjointEigV2 Selu SeluGrad SerializeManySparse SerializeSparse SerializeTensor SetSize Shape
    ShapeN Sigmoid SigmoidGrad Sign Sin Sinh Size Slice SobolSample Softmax SoftmaxCrossEntropyWithLogits Softplus
    SoftplusGrad Softsign SoftsignGrad SpaceToBatch SpaceToBatchND SpaceToDepth SparseAdd SparseAddGrad SparseBincount
    SparseConcat SparseCountSparseOutput SparseCross SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd
    SparseDenseCwiseDiv SparseDenseCwiseMul SparseFillEmptyRows SparseFillEmptyRowsGrad SparseMatMul SparseMatrixAdd
    SparseMatrixMatMul SparseMatrixMul SparseMatrixNNZ SparseMatrixOrderingAMD SparseMatrixSoftmax
    SparseMatrixSoftmaxGrad SparseMatrixSparseCholesky SparseMatrixSparseMatMul SparseMatrixTranspose
    SparseMatrixZeros SparseReduceMax SparseReduceMaxSparse SparseReduceSum SparseReduceSumSparse SparseReorder
    SparseReshape SparseSegmentMean SparseSegmentMeanGrad SparseSegmentMeanGradV2 SparseSegmentMeanWithNumSegments
    SparseSegmentSqrtN SparseSegmentSqrtNGrad SparseSegmentSqrtNGradV2 SparseSegmentSqrtNWithNumSegments
    SparseSegmentSum SparseSegmentSumGrad SparseSegmentSumGradV2 SparseSegmentSumWithNumSegments SparseSlice
    SparseSliceGrad SparseSoftmax SparseSoftmaxCrossEntropyWithLogits SparseSparseMaximum SparseSparseMinimum
    SparseSplit SparseTensorDenseAdd SparseTensorDenseMatMul SparseTensorToCSRSparseMatrix SparseToDense
    SparseToSparseSetOperation Spence Split SplitV Sqrt SqrtGrad Square SquaredDifference Squeeze
    StatefulRandomBinomial StatefulStandardNormal StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform
    StatefulUniformFullInt StatefulUniformInt StatelessMultinomial StatelessParameterizedTruncatedNormal
    StatelessRandomBinomial StatelessRandomGammaV2 StatelessRandomGammaV3 StatelessRandomGetAlg
    StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2
    StatelessRandomPoisson StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2
    StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessSampleDistortedBoundingBox
    StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2 StaticRegexFullMatch StaticRegexReplace
    StochasticCastToInt StridedSlice StridedSliceAssign StridedSliceGrad StringFormat StringJoin StringLength
    StringLower StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucket StringToHashBucketFast
    StringToHashBucketStrong StringToNumber StringUpper Sub Substr Sum Svd Tan Tanh TanhGrad TensorScatterAdd
    TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate
    ThreadUnsafeUnigramCandidateSampler Tile TileGrad ToBool TopK TopKUnique TopKV2 TopKWithUnique Transpose
    TridiagonalMatMul TridiagonalSolve TruncateDiv TruncateMod TruncatedNormal Unbatch UnbatchGrad UnicodeDecode
    UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeTranscode UniformCandidateSampler UniformDequantize
    UniformQuantize UniformQuantizedAdd UniformQuantizedClipByValue UniformQuantizedConvolution
    UniformQuantizedConvolutionHybrid UniformQuantizedDot UniformQuantizedDotHybrid UniformRequantize Unique UniqueV2
    UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UnsortedSegmentJoin UnsortedSegmentMax UnsortedSegmentMin
    UnsortedSegmentProd UnsortedSegmentSum UpperBound Where WindowOp Xdivy Xlog1py Xlogy ZerosLike Zeta
    _FusedBatchNormEx _FusedBatchNormGradEx _FusedConv2D _FusedConv3D _FusedDepthwiseConv2dNative _FusedMatMul
    _TensorToHashBucketFast _UnaryOpsComposition
    """
)

# Operators that the TFLite converter registers when it is loaded: it writes them for patterns that it recognizes.
_CONVERTER = _names("TFLite_Detection_PostProcess UnidirectionalSequenceLstm UnidirectionalSequenceRnn")

COMPUTING = _CONTROL | _STATE | _DATA | _TEXT | _MATH | _CONVERTER

# These read the file that an input names: the index of that input. Allowed for the model's own assets (see `assets`).
READS_ASSET = {"ReadFile": 0, "InitializeTableFromTextFile": 1, "InitializeTableFromTextFileV2": 1}

# TensorFlow's loader calls these to restore variables; every SavedModel carries them. See `check_security`.
SAVER = _names("Save SaveV2 SaveSlices Restore RestoreV2 RestoreSlice MergeV2Checkpoints")
SAVER_WRITES = _names("Save SaveV2 SaveSlices MergeV2Checkpoints")

# Allowed while the named text attribute is empty, or matches: another value names a file, or code.
ATTRIBUTES = {
    "FixedUnigramCandidateSampler": ("vocab_file", re.compile(r"(?!)")),
    "EncodeProto": ("descriptor_source", re.compile(r"local://$|bytes://", re.DOTALL)),
    "DecodeProtoV2": ("descriptor_source", re.compile(r"local://$|bytes://", re.DOTALL)),
    "PrintV2": ("output_stream", re.compile(r"(stderr|stdout|log\((info|warning|error)\))$")),
    # A StableHLO module. What computes needs no call back into the process that runs it.
    "XlaCallModule": ("module", re.compile(r"(?!.*callback)", re.DOTALL | re.IGNORECASE)),
}

REFUSED = {
    **dict.fromkeys(
        _names(
            """
            EagerPyFunc NumpyFunction PyFunc PyFuncStateless
            """
        ),
        "runs Python",
    ),
    **dict.fromkeys(
        _names(
            """
            CSVDataset CSVDatasetV2 CacheDataset CacheDatasetV2 CalibrationStatisticsSaver CloseSummaryWriter
            CreateSummaryDbWriter CreateSummaryFileWriter DTensorRestoreV2 DatasetToTFRecord DistributedSave
            ExperimentalCSVDataset ExperimentalDatasetToTFRecord ExperimentalLMDBDataset
            ExperimentalMatchingFilesDataset ExperimentalSqlDataset FileSystemSetConfiguration
            FixedLengthRecordDataset FixedLengthRecordDatasetV2 FixedLengthRecordReader FixedLengthRecordReaderV2
            FlushSummaryWriter GenerateVocabRemapping IdentityReader IdentityReaderV2 ImmutableConst ImportEvent
            LMDBDataset LMDBReader ListSnapshotChunksDataset LoadAndRemapMatrix LoadDataset MatchingFiles
            MatchingFilesDataset ReaderNumRecordsProduced ReaderNumRecordsProducedV2 ReaderNumWorkUnitsCompleted
            ReaderNumWorkUnitsCompletedV2 ReaderRead ReaderReadUpTo ReaderReadUpToV2 ReaderReadV2 ReaderReset
            ReaderResetV2 ReaderRestoreState ReaderRestoreStateV2 ReaderSerializeState ReaderSerializeStateV2
            RecordInput SSTableDataset SaveDataset SaveDatasetV2 Skipgram SnapshotChunkDataset SnapshotDataset
            SnapshotDatasetReader SnapshotDatasetV2 SnapshotNestedDatasetReader SqlDataset SummaryWriter
            TFRecordDataset TFRecordDatasetV2 TFRecordReader TFRecordReaderV2 TextLineDataset TextLineReader
            TextLineReaderV2 WholeFileReader WholeFileReaderV2 WriteAudioSummary WriteFile WriteGraphSummary
            WriteHistogramSummary WriteImageSummary WriteRawProtoSummary WriteScalarSummary WriteSummary
            """
        ),
        "reads or writes files",
    ),
    **dict.fromkeys(
        _names(
            """
            BigQueryReader BigtableClient CollectiveAllToAllV2 CollectiveAllToAllV3 CollectiveAssignGroupV2
            CollectiveBcastRecv CollectiveBcastRecvV2 CollectiveBcastSend CollectiveBcastSendV2 CollectiveGather
            CollectiveGatherV2 CollectiveInitializeCommunicator CollectivePermute CollectiveReduce
            CollectiveReduceScatterV2 CollectiveReduceV2 CollectiveReduceV3 DataServiceDataset DataServiceDatasetV2
            DataServiceDatasetV3 DataServiceDatasetV4 DeleteRpcFutureResource GcsConfigureCredentials NcclAllReduce
            NcclBroadcast NcclReduce Recv RegisterDataset RegisterDatasetV2 RemoteCall Rpc RpcCall RpcCheckStatus
            RpcClient RpcGetValue RpcServer RpcServerRegister RpcServerStart Send SyncDevice TryRpc WorkerHeartbeat
            _HostRecv _HostSend _NcclBroadcastRecv _NcclBroadcastSend _NcclReduceRecv _NcclReduceSend _Recv _Send
            """
        ),
        "talks to other processes or machines",
    ),
    **dict.fromkeys(
        _names(
            """
            DatasetFromGraph DeserializeIterator MlirPassthroughOp RemoteFusedGraphExecute SerializeIterator
            TRTEngineOp XlaCustomCall XlaCustomCallV2
            """
        ),
        "runs code that is not in the graph",
    ),
    **dict.fromkeys(
        _names(
            """
            BytesProducedStatsDataset Copy CopyHost DebugIdentity DebugIdentityV2 DebugIdentityV3 DebugNanCount
            DebugNumericSummary DebugNumericSummaryV2 DumpTensor ExperimentalBytesProducedStatsDataset
            ExperimentalLatencyStatsDataset ExperimentalSetStatsAggregatorDataset ExperimentalStatsAggregatorHandle
            ExperimentalStatsAggregatorSummary LatencyStatsDataset SetStatsAggregatorDataset StatsAggregatorHandle
            StatsAggregatorHandleV2 StatsAggregatorSetSummaryWriter StatsAggregatorSummary
            """
        ),
        "is for debugging, and can write what it sees to a file or an address",
    ),
    **dict.fromkeys(
        _names(
            """
            Abort DeleteSessionTensor ExperimentalSleepDataset GetSessionHandle GetSessionHandleV2 GetSessionTensor
            SleepDataset SleepIdentityOp SleepOp
            """
        ),
        "acts on the process: ends it, stops it, or reaches what it holds",
    ),
    **dict.fromkeys(
        _names(
            """
            A Attr AttrBool AttrBoolList AttrDefault AttrEmptyListDefault AttrEnum AttrEnumList AttrFloat
            AttrListDefault AttrListMin AttrListTypeDefault AttrMin AttrPartialShape AttrPartialShapeList AttrShape
            AttrShapeList AttrTypeDefault B Binary ComplexStruct ConstructionFails CopyOp DefaultAttrs
            DevicePlacementOp DtypeWithDefaultOp DummyIterationCounter FiveFloatOutputs FloatInput FloatOutput
            FloatOutputStringOutput Foo1 Foo2 Foo3 FuncAttr FuncListAttr GetDeadline GraphDefVersion
            InPolymorphicTwice Int64Output IntAttr IntInput IntInputFloatInput IntInputIntOutput IntOutput
            IntOutputFloatOutput IsResourceHandleRefCounting KernelLabel KernelLabelRequired ListInput ListOutput
            MakeWeakResourceHandle MixedStruct NInPolymorphicTwice NInTwice NInTwoTypeVariables NIntsIn NIntsOut
            NIntsOutDefault NPolymorphicIn NPolymorphicOut NPolymorphicOutDefault NPolymorphicRestrictIn
            NPolymorphicRestrictOut Namespace>TestStringOutput None Old OpWithDefaultAttr OpWithFutureDefaultAttr OutT
            OutTypeList OutTypeListRestrict Polymorphic PolymorphicDefaultOut PolymorphicOut RefIn RefInputFloatInput
            RefInputFloatInputIntOutput RefInputIntInput RefOut RefOutput RefOutputFloatOutput
            RequiresOlderGraphVersion ReservedAttr ReservedInput ResourceCreateOp ResourceInitializedOp
            ResourceUsingOp Restrict Simple SimpleStruct StringListAttr StubResourceHandleOp TestAttr TestStringOutput
            TwoFloatInputs TwoFloatInputsFloatOutput TwoFloatInputsIntOutput TwoFloatOutputs TwoIntInputs
            TwoIntOutputs TwoRefsIn TypeList TypeListRestrict TypeListTwice Unary
            """
        ),
        "is there for TensorFlow's own tests",
    ),
}

# Kinds of operators that are refused by how they are called.
_REFUSED_KINDS = (
    (
        re.compile(
            r"\w*(TPU|Tpu|Infeed|Outfeed|SparseCore|CooTensor|Minibatch)|_?DTensor|Relayout|CopyToMesh|Prelinearize|"
            r"_?XlaHostCompute|_?Xla(Send|Recv|Launch|Sparse)|_Xla|GlobalIterId|UpdateTaskId|\w*Dedup"
        ),
        "drives other hardware than this machine's",
    ),
    (re.compile(r"_"), "is one that TensorFlow makes while it runs, and no model has"),
)


def refusal(operator: str) -> str:
    """Return why an operator is refused for all inputs; empty if it is allowed or unknown."""
    if operator in COMPUTING:
        return ""
    return REFUSED.get(operator) or next((why for kind, why in _REFUSED_KINDS if kind.match(operator)), "")


def is_known(operator: str) -> bool:
    """Whether an operator is on a list: allowed, allowed in some cases, or refused by name."""
    return bool(
        operator in COMPUTING
        or operator in READS_ASSET
        or operator in SAVER
        or operator in ATTRIBUTES
        or refusal(operator)
    )
